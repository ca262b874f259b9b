"""Grading on the 8,792 official solutions and on what models wrote.

GSM8K_DATASET names the folder of the solutions, GSM8K_COMPLETIONS one with smollm2-135m.jsonl (607 completions) and
tiny.jsonl (1,000), rows of "completion" and "ground_truth". Neither is part of the project.
"""

import hashlib
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


# Right ones, and the digest of all verdicts in order, by the grader of commit b5478be, which this one replaced.
VERDICTS: list[tuple[str, GradingMode, int, str]] = [
    ("smollm2-135m", "flexible", 13, "848891cb4c1e"),
    ("smollm2-135m", "strict", 3, "761ac367d4bc"),
    ("smollm2-135m", "boxed", 0, "5417e37b4a73"),
    ("tiny", "flexible", 276, "9c35f5004bf9"),
    ("tiny", "strict", 276, "9c35f5004bf9"),
    ("tiny", "boxed", 0, "541b3e9daa09"),
]


@pytest.mark.parametrize(("model", "mode", "right", "digest"), VERDICTS)
def test_verdicts_on_what_models_wrote(model: str, mode: GradingMode, right: int, digest: str) -> None:
    path = Path(os.environ.get("GSM8K_COMPLETIONS", "")) / f"{model}.jsonl"
    if not path.is_file():
        pytest.skip(f"GSM8K_COMPLETIONS does not name a folder with {path.name}")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    verdicts = [grade(row["completion"], row["ground_truth"], mode).correct for row in rows]
    assert (sum(verdicts), hashlib.sha256(bytes(verdicts)).hexdigest()[:12]) == (right, digest)
