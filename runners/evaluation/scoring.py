"""Completions to grades to numbers, without a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from agents.stop_text import cut_at_stop
from gsm8k_env.final_answer import read_answer
from gsm8k_env.grading import Grade, GradingMode, grade
from runners.evaluation.prompts import ENVIRONMENT
from runners.evaluation.samples import Sample
from runners.evaluation.statistics import (
    Estimate,
    effective_trials,
    majority_at_k,
    mean_over_problems,
    pass_at_k,
    wilson_interval,
)

PHRASE = "phrase"
"""The grading mode of the chain-of-thought prompt: the flexible answer, if it stands in "the answer is ..."."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredSample:
    """A completion with its grades.

    Attributes:
        sample: The completion.
        grades: Grading mode -> grade.
        truncated: Whether generation ran out of tokens before an end token and before a stop text.
    """

    sample: Sample
    grades: Mapping[str, Grade]
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeScore:
    """What one grading mode makes of N problems with n completions each.

    Attributes:
        accuracy: Mean over all completions (avg@n), its standard error clustered by problem.
        interval: Wilson's 95 % interval of the accuracy.
        answered: Share of completions in which the mode finds an answer; None where the environment judges.
        pass_at: k -> unbiased pass@k.
        majority_at: k -> maj@k; none where the environment judges, which names no answers.
    """

    accuracy: Estimate
    interval: tuple[float, float]
    answered: float | None
    pass_at: Mapping[int, Estimate]
    majority_at: Mapping[int, Estimate]


def grade_sample(sample: Sample, stop: tuple[str, ...], modes: Sequence[str]) -> ScoredSample:
    """Grades a completion, cut at the first stop text, by every mode."""
    text = cut_at_stop(sample.completion, stop)
    return ScoredSample(
        sample=sample,
        grades={mode: _grade(sample, text, mode) for mode in modes},
        truncated=sample.finish_reason == "length" and text == sample.completion,
    )


def score_mode(problems: Sequence[Sequence[ScoredSample]], mode: str, ks: Sequence[int]) -> ModeScore:
    """Returns one mode's numbers.

    Args:
        problems: [N][n] the completions, N and n at least 1.
        mode: The grading mode.
        ks: For pass@k and maj@k; those above n are left out.
    """
    grades = [[scored.grades[mode] for scored in group] for group in problems]
    correct = np.array([[g.correct for g in group] for group in grades])
    num_problems, n = correct.shape
    accuracy = mean_over_problems(correct.mean(axis=1))
    ks = [k for k in ks if k <= n]
    counts = correct.sum(axis=1).tolist()
    names_answers = mode != ENVIRONMENT
    votes = [wrong_votes(group) for group in grades] if names_answers else []
    return ModeScore(
        accuracy=accuracy,
        interval=wilson_interval(accuracy.value, effective_trials(accuracy, num_problems, n)),
        answered=float(np.mean([[g.extracted is not None for g in group] for group in grades]))
        if names_answers
        else None,
        pass_at={k: mean_over_problems([pass_at_k(n, c, k) for c in counts]) for k in ks},
        majority_at={
            k: mean_over_problems(
                [majority_at_k(c, wrong, n - c - sum(wrong), k) for c, wrong in zip(counts, votes, strict=True)]
            )
            for k in ks
            if names_answers
        },
    )


def wrong_votes(grades: Sequence[Grade]) -> list[int]:
    """Returns how many completions name each wrong number; answers that name no number do not vote.

    A right grade votes for the truth whatever its spelling, so 1/2 and 0.5 are one answer, right or wrong.
    """
    values = [read_answer(g.extracted) for g in grades if not g.correct and g.extracted is not None]
    return sorted(Counter(value for value in values if value is not None).values())


def _grade(sample: Sample, text: str, mode: str) -> Grade:
    if mode == ENVIRONMENT:
        return Grade(correct=bool(sample.correct), extracted=None, method=None)
    if sample.ground_truth is None:
        raise ValueError(f"Problem {sample.index} has no ground_truth, so --prompt {ENVIRONMENT} alone can score it.")
    if mode != PHRASE:
        return grade(text, sample.ground_truth, cast(GradingMode, mode))
    flexible = grade(text, sample.ground_truth)
    return flexible if flexible.method == "phrase" else Grade(correct=False, extracted=None, method=None)
