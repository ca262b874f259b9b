"""TensorBoard's files, in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tensorboardX import SummaryWriter

from runners.tracking.tracker import TrackedRun


class TensorBoard:
    """Writes tensorboard/; a resumed run adds a file."""

    id = None

    def __init__(self, run: TrackedRun) -> None:
        self._writer = SummaryWriter(str(run.folder / "tensorboard"))

    def log(self, row: Mapping[str, float]) -> None:
        """Writes each number under its name."""
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(row["step"]))
        self._writer.flush()

    def log_completions(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes nothing: samples.jsonl has them beside it."""

    def close(self, *, ok: bool) -> None:
        """Closes the file."""
        self._writer.close()
