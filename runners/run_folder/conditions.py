"""Conditions, steps and trackers as a user writes them: "eval_accuracy>0.9", "3,7", "tensorboard,wandb"."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runners.run_folder.metrics import METRICS

TRACKERS = ("tensorboard", "wandb", "mlflow")
NO_TRACKER = "none"
_COMPARISONS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_STEPS = re.compile(r"all|0*[1-9]\d*(,0*[1-9]\d*)*")
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


def is_report_to(text: str) -> bool:
    """Returns whether every name, between commas, is one of TRACKERS or of the form module:Class."""
    return text == NO_TRACKER or all(name in TRACKERS or ":" in name for name in text.split(","))
