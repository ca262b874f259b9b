"""One completion as a row of samples.jsonl."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, get_type_hints

from agents.values import fits


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A completion with its problem.

    Attributes:
        index: The problem's place in its split.
        sample: Number of the completion among the n of its problem, from 0.
        question: The problem's text.
        ground_truth: The true answer; None where the environment does not tell it.
        completion: The text, up to the stop text where one ended it; the whole dialogue of several turns.
        num_tokens: The tokens that the policy wrote, end tokens included.
        finish_reason: How the engine ended it: "stop", "length" or "abort".
        reward: The episode's return; None if the environment could not compute it.
        correct: The environment's verdict; None where it gives none.
        num_turns: Steps of the episode.
        num_steps: Of the problem's solution; None where the environment does not tell them.
        batch: Number of the batch it was generated in.
        batch_seconds: Time that sampling that batch took.
    """

    index: int
    sample: int
    question: str
    ground_truth: str | None = None
    completion: str
    num_tokens: int
    finish_reason: str
    reward: float | None
    batch: int
    batch_seconds: float
    correct: bool | None = None
    num_turns: int = 1
    num_steps: int | None = None

    def to_row(self) -> dict[str, Any]:
        """Returns the row, without grades."""
        return {name: getattr(self, name) for name in _FIELDS}

    @classmethod
    def from_row(cls, row: Mapping[str, Any], *, where: str) -> Sample:
        """Returns the sample of a row; other columns are left out.

        Args:
            row: The row.
            where: File and line, for the message.

        Raises:
            ValueError: If a column is missing or not of its type.
        """
        known = {name: row[name] for name in _FIELDS if name in row}
        wrong = [
            name
            for name, field in _FIELDS.items()
            if (name in row or field.default is MISSING) and not fits(row.get(name), _HINTS[name])
        ]
        if wrong:
            expected = ", ".join(f"{name} ({_FIELDS[name].type})" for name in wrong)
            raise ValueError(
                f"{where}: missing or of another type: {expected}. Rows are those that evaluate.py writes."
            )
        return cls(**known)


_FIELDS = {field.name: field for field in fields(Sample)}
_HINTS = get_type_hints(Sample)


def complete_problems(samples: Iterable[Sample]) -> tuple[list[list[Sample]], int]:
    """Groups samples by problem: [N][n], problems in order of index, completions by number.

    Returns:
        The problems with as many completions as the one that has most, and how many have fewer.

    Raises:
        ValueError: If a problem has the same completion number twice.
    """
    by_problem: dict[int, list[Sample]] = {}
    for sample in samples:
        by_problem.setdefault(sample.index, []).append(sample)
    for index, group in by_problem.items():
        group.sort(key=lambda sample: sample.sample)
        if len({sample.sample for sample in group}) < len(group):
            raise ValueError(
                f"Problem {index} has a completion of the same number twice: these are two runs in one file."
            )
    groups = [by_problem[index] for index in sorted(by_problem)]
    most = max(map(len, groups), default=0)
    whole = [group for group in groups if len(group) == most]
    return whole, len(groups) - len(whole)


def whole_batches(samples: Sequence[Sample], sizes: Sequence[int]) -> list[Sample]:
    """Returns the samples of the leading batches that are complete: what a killed run need not do again.

    Args:
        samples: In the order they were written.
        sizes: [number of batches] completions in each.
    """
    kept, start = 0, 0
    for batch, size in enumerate(sizes):
        rows = samples[start : start + size]
        if len(rows) < size or any(row.batch != batch for row in rows):
            break
        start += size
        kept = start
    return list(samples[:kept])
