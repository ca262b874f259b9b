"""When a run ends: after its steps, its minutes, or once a metric is what was wanted ("eval_accuracy>0.9")."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from runners.run_folder.conditions import parse_condition
from runners.run_settings import RunSettings


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
