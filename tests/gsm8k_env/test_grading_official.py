"""Grading on the 8,792 official solutions; GSM8K_DATASET names the folder they lie in."""

import json
import os
from pathlib import Path

import pytest

from gsm8k_env.grading import GradingMode, grade


@pytest.fixture(scope="module")
def official() -> list[tuple[str, str]]:
    """(solution, ground truth) of the 8,792 official problems."""
    folder = os.environ.get("GSM8K_DATASET")
    files = [Path(folder or "") / f"{split}.jsonl" for split in ("train", "test")]
    if not folder or not all(file.is_file() for file in files):
        pytest.skip("GSM8K_DATASET does not name a folder with the official train.jsonl and test.jsonl")
    answers = [json.loads(line)["answer"] for file in files for line in file.read_text("utf-8").splitlines()]
    return [(answer, answer.rpartition("#### ")[2]) for answer in answers]


@pytest.mark.parametrize("mode", ["flexible", "strict"])
def test_official_solutions_grade_themselves(official: list[tuple[str, str]], mode: GradingMode) -> None:
    assert len(official) == 8792
    wrong = [solution for solution, truth in official if not grade(solution, truth, mode).correct]
    assert wrong == []


@pytest.mark.parametrize("mode", ["flexible", "strict"])
def test_another_ground_truth_is_never_met(official: list[tuple[str, str]], mode: GradingMode) -> None:
    for solution, truth in official:
        number = int(truth.replace(",", ""))
        for other in (number + 1, number - 1, 10 * number + 1, -number - 1):
            assert not grade(solution, str(other), mode).correct
        body = solution.rpartition("#### ")[0]
        assert not grade(f"{body}#### {number + 1:,}", truth, mode).correct


def test_official_answers_in_other_clothes(official: list[tuple[str, str]]) -> None:
    """The worked steps say much that is not the answer; none of it may get in the way of how the answer is stated."""
    for solution, truth in official:
        body = solution.rpartition("\n#### ")[0]
        for claim in ("\\boxed{{{}}}", "The answer is {}.", "**Final answer:** ${}", "Answer: {} dollars"):
            completion = body + "\n" + claim.format(truth)
            assert grade(completion, truth).correct, completion
