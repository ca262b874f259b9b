"""Whether a policy is the best so far, by its evaluation."""

from __future__ import annotations

from collections.abc import Mapping


def is_better(row: Mapping[str, float], best: Mapping[str, float]) -> bool:
    """Compares the greedy accuracies of two rows of metrics, or the greedy mean rewards where there is none.

    >>> is_better({"eval_accuracy": 0.5}, {"eval_accuracy": 0.4}), is_better({"eval_accuracy": 0.1}, {})
    (True, True)
    """
    for name in ("eval_accuracy", "eval_reward_mean"):
        if name in row:
            return row[name] > best.get(name, float("-inf"))
    return False
