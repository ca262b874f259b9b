"""What a person sees while a run goes on: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

_BAR = 14  # columns
_TIME = 7  # columns of 0:00:00
_SHOWN = (
    ("reward", "reward_mean", ".3f"),
    ("length", "completion_tokens_mean", ".0f"),
    ("entropy", "entropy", ".2f"),
    ("kl", "approx_kl", ".1e"),
    ("tokens/s", "tokens_per_s", ".0f"),
)
_SHOWN_WITHOUT_REWARD = (("loss", "loss", ".3f"), *_SHOWN)


class RunProgress:
    """Shows the steps of a run; used as a context manager.

    Args:
        total: Steps in all.
        done: Steps already done, by a run that this one resumes.
        problems: What evaluations are on.
        title: Before the bar.
        console: Where to; None is the standard output.
    """

    def __init__(
        self,
        total: int,
        done: int = 0,
        problems: str = "held-out problems",
        *,
        title: str = "GRPO",
        console: Console | None = None,
    ) -> None:
        self.console = console or Console(soft_wrap=True, highlight=False)
        self._total, self._problems = total, problems
        # Columns that are not the step's numbers: title, bar, "60/60" and two times, a space between them.
        self._taken = len(title) + _BAR + 2 * len(str(total)) + 1 + 2 * _TIME + 5
        self._bar = Progress(
            TextColumn(f"[bold]{title}"),
            BarColumn(_BAR),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, completed=done)

    def __enter__(self) -> RunProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(self, row: dict[str, float]) -> None:
        """Shows a training step."""
        if math.isnan(row.get("reward_mean", 0.0)):
            self.say(f"note: no episode of step {row['step']:.0f} has a reward (all are NaN): it taught nothing.")
        shown = _SHOWN if "reward_mean" in row else _SHOWN_WITHOUT_REWARD
        numbers = [f"{label} {row[name]:{form}}" for label, name, form in shown if name in row]
        seconds = f"{sum(row.get(name, 0.0) for name in ('sample_s', 'update_s', 'sync_s')):.2f} s"
        if self.console.is_terminal:
            first = [*numbers[:2], seconds, *numbers[2:]]
            while len("  ".join(first)) > self.console.width - self._taken and len(first) > 1:
                first.pop()
            self._bar.update(self._task, completed=row["step"], description="  ".join(first))
        else:
            self.say("  ".join([f"step {row['step']:.0f}/{self._total}", *numbers, seconds]))

    def evaluation(self, row: dict[str, float]) -> None:
        """Shows an evaluation."""
        name = "accuracy" if "eval_accuracy" in row else "reward_mean"
        shown = [
            f"{label} {row[f'{prefix}{name}']:.3f} ± {row[f'{prefix}standard_error']:.3f}"
            for label, prefix in (("greedy", "eval_"), ("sampled", "eval_sampled_"))
            if f"{prefix}{name}" in row
        ]
        problems = f"{row['eval_num_problems']:.0f} {self._problems}"
        self.say(f"evaluation after step {row['step']:.0f}: {name.replace('_', ' ')} {', '.join(shown)} ({problems})")

    def say(self, text: str) -> None:
        """Prints a line, above the bar where there is one."""
        self.console.print(text, markup=False)
