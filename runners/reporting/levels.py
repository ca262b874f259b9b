"""Accuracy by level: the number of steps of a problem's solution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runners.evaluation.scoring import ModeScore, ScoredSample, score_mode
from runners.reporting.groups import level


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelScore:
    """The problems of one level.

    Attributes:
        level: Steps of the solution; None where the problems do not say it.
        num_problems: How many.
        score: Of one grading mode.
    """

    level: int | None
    num_problems: int
    score: ModeScore


def scores_by_level(problems: Sequence[Sequence[ScoredSample]], mode: str) -> list[LevelScore]:
    """Returns a mode's accuracy on each level, those without one last; none where no problem has a level.

    Args:
        problems: [N][n] graded completions, n the same for all.
        mode: The grading mode.
    """
    by_level: dict[int | None, list[Sequence[ScoredSample]]] = {}
    for group in problems:
        by_level.setdefault(level(group[0].sample.num_steps), []).append(group)
    if set(by_level) <= {None}:
        return []
    ordered = sorted(by_level, key=lambda found: (found is None, found or 0))
    return [
        LevelScore(level=found, num_problems=len(by_level[found]), score=score_mode(by_level[found], mode, ()))
        for found in ordered
    ]
