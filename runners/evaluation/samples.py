"""One completion as a row of samples.jsonl."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A completion with its problem.

    Attributes:
        index: The problem's place in its split.
        sample: Number of the completion among the n of its problem, from 0.
        question: The problem's text.
        ground_truth: The true answer.
        completion: The text, up to the stop text where one ended it.
        num_tokens: Length in tokens, the end token included.
        finish_reason: How the engine ended it: "stop", "length" or "abort".
        reward: What the environment's step returned for it.
        batch: Number of the batch it was generated in.
        batch_seconds: Time the engine took for that batch.
    """

    index: int
    sample: int
    question: str
    ground_truth: str
    completion: str
    num_tokens: int
    finish_reason: str
    reward: float
    batch: int
    batch_seconds: float

    def to_row(self) -> dict[str, Any]:
        """Returns the row, without grades."""
        return {name: getattr(self, name) for name in _TYPES}

    @classmethod
    def from_row(cls, row: Mapping[str, Any], *, where: str) -> Sample:
        """Returns the sample of a row; other columns are left out.

        Args:
            row: The row.
            where: File and line, for the message.

        Raises:
            ValueError: If a column is missing or not of its type.
        """
        wrong = [name for name, kind in _TYPES.items() if not _is_a(row.get(name), kind)]
        if wrong:
            expected = ", ".join(f"{name} ({_TYPES[name].__name__})" for name in wrong)
            raise ValueError(
                f"{where}: missing or of another type: {expected}. Rows are those that evaluate.py writes."
            )
        return cls(**{name: row[name] for name in _TYPES})


_KINDS: dict[str, type] = {"int": int, "str": str, "float": float}
_TYPES = {field.name: _KINDS[str(field.type)] for field in fields(Sample)}


def _is_a(value: object, kind: type) -> bool:
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, kind) and not isinstance(value, bool)


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
