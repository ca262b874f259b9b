"""When a run ends: after its steps, its minutes, or once a metric is what was wanted ("eval_accuracy>0.9")."""

from __future__ import annotations

import math
import operator
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runners.run_folder.metrics import METRICS

if TYPE_CHECKING:
    from runners.settings import RunSettings

_COMPARISONS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_STEPS = re.compile(r"all|\d+(,\d+)*")
_FORM = re.compile(r"\s*(\w+)\s*([<>]=?)\s*(\S+)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A metric compared with a bound."""

    metric: str
    compare: Callable[[float, float], bool]
    bound: float

    def holds(self, row: Mapping[str, float]) -> bool:
        """Returns whether a row of metrics has the metric, and it is as wanted."""
        return self.metric in row and self.compare(row[self.metric], self.bound)


def parse_condition(text: str) -> Condition | None:
    """Returns the condition; None for another form, another metric than those of `METRICS`, or no number.

    >>> parse_condition("eval_accuracy > 0.9").holds({"eval_accuracy": 0.95})
    True
    """
    found = _FORM.fullmatch(text)
    try:
        bound = float(found[3]) if found else math.nan
    except ValueError:
        return None
    if not found or found[1] not in METRICS or math.isnan(bound):
        return None
    return Condition(metric=found[1], compare=_COMPARISONS[found[2]], bound=bound)


def is_steps(text: str) -> bool:
    """Returns whether a text names steps: "all", or numbers such as "3,7"."""
    return _STEPS.fullmatch(text) is not None


class Ending:
    """Says which step is the last; the minutes count from here on.

    Args:
        limits: The run's.
    """

    def __init__(self, limits: RunSettings) -> None:
        self._steps = limits.steps
        self._deadline = time.monotonic() + 60 * (math.inf if limits.max_minutes is None else limits.max_minutes)
        self._stop = parse_condition(limits.stop) if limits.stop else None

    def after(self, row: Mapping[str, float]) -> bool:
        """Returns whether a step is the last, by its row of metrics."""
        return self.reached(row) or time.monotonic() >= self._deadline

    def reached(self, row: Mapping[str, float]) -> bool:
        """Returns the same whatever the time: a run that is resumed has its minutes before it, but may be over."""
        return row["step"] >= self._steps or (self._stop is not None and self._stop.holds(row))
