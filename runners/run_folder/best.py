"""The best policy so far, by the evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def score(row: Mapping[str, float]) -> float | None:
    """Returns what an evaluation is compared by: greedy accuracy, else the greedy mean reward; None without one."""
    return row.get("eval_accuracy", row.get("eval_reward_mean"))


def is_best(rows: Sequence[Mapping[str, float]]) -> bool:
    """Returns whether the last row's evaluation is better than every earlier one after a training step.

    >>> is_best([{"step": 0, "eval_accuracy": 0.5}, {"step": 2, "eval_accuracy": 0.4}]), is_best([{"step": 3}])
    (True, False)
    """
    *earlier, last = [(row["step"], score(row)) for row in rows]
    before = [value for step, value in earlier if step and value is not None and not math.isnan(value)]
    return bool(last[0]) and last[1] is not None and last[1] > max(before, default=-math.inf)
