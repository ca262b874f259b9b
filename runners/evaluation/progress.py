"""What a person sees while completions are generated: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from runners.evaluation.samples import Sample

_SECONDS_BETWEEN_LINES = 5.0


class EvaluationProgress:
    """Shows how many problems are done and what they amount to so far; used as a context manager.

    Args:
        total: Problems in all.
        samples: Those a run that this one resumes left behind.
        num_samples: n, completions a problem.
    """

    def __init__(self, total: int, samples: Sequence[Sample], num_samples: int) -> None:
        self.console = Console(soft_wrap=True, highlight=False)
        self._total = total
        self._num_samples = num_samples
        self._count = self._rewards = self._tokens = 0.0
        self._add(samples)
        # tokens/s is of this session alone.
        self._resumed_tokens, self._seconds = self._tokens, 0.0
        self._last_line = -_SECONDS_BETWEEN_LINES
        self._bar = Progress(
            TextColumn("[bold]evaluation"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, completed=self.done)

    @property
    def done(self) -> int:
        """Problems done."""
        return int(self._count) // self._num_samples

    def __enter__(self) -> EvaluationProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def batch(self, samples: Sequence[Sample]) -> None:
        """Shows a finished batch."""
        self._add(samples)
        self._seconds += samples[0].batch_seconds
        speed = (self._tokens - self._resumed_tokens) / self._seconds if self._seconds else 0.0
        text = (
            f"reward {self._rewards / self._count:.3f}  length {self._tokens / self._count:.0f}  tokens/s {speed:.0f}"
        )
        if self.console.is_terminal:
            self._bar.update(self._task, completed=self.done, description=text)
        elif self.done == self._total or time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.say(f"problem {self.done}/{self._total}  {text}")

    def say(self, text: str) -> None:
        """Prints a line, above the bar where there is one."""
        self.console.print(text, markup=False)

    def _add(self, samples: Sequence[Sample]) -> None:
        self._count += len(samples)
        self._rewards += sum(sample.reward or 0.0 for sample in samples)
        self._tokens += sum(sample.num_tokens for sample in samples)
