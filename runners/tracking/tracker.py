"""What a tracker is, and what it is told of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """A run as a tracker is made for it.

    Attributes:
        folder: The run's; its name is the run's.
        settings: As config.yaml has them.
        id: What the tracker called the run before it was stopped; None for a new one.
    """

    folder: Path
    settings: Mapping[str, Any]
    id: str | None


class Tracker(Protocol):
    """Takes a run's numbers to some place. One of your own is `--report-to package.module:Class`.

    A tracker that raises is left out from then on, with a note; the run goes on.

    Attributes:
        id: What `TrackedRun.id` is when the run goes on; None if there is nothing to know.
    """

    def __init__(self, run: TrackedRun) -> None: ...

    @property
    def id(self) -> str | None:
        """As above."""
        ...

    def log(self, row: Mapping[str, float]) -> None:
        """Takes a row of metrics.jsonl: `step`, and the step's numbers by their names in docs/metrics.md."""
        ...

    def log_completions(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Takes rows of samples.jsonl, all of one evaluation: `step`, `prompt`, `completion`, `reward`, ..."""
        ...

    def close(self, *, ok: bool) -> None:
        """Ends: the run came to its end, or to an error or an interrupt."""
        ...
