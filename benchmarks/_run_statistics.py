"""Few runs, honest intervals: what Agarwal et al. 2021 (https://arxiv.org/abs/2108.13264) report, on numpy alone.

Scores are [R, T]: R runs (seeds) of one algorithm, each scored on the same T tasks. Every statistic takes any axes
before these two, so a bootstrap is one call on [..., resamples, R, T].

rliable, the paper's own library, would bring arch, pandas and seaborn for these lines, and its stratified bootstrap
draws runs for each task apart, because there each task has training runs of its own. Here one training run is scored on
all tasks, so its scores rise and fall together: rows are drawn whole. Drawn apart, the intervals would be too narrow.

The intervals are about the seeds alone, for these problems and these settings. With few runs a percentile bootstrap is
somewhat too narrow (five runs have 126 different resamples), so intervals that just part are no proof.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A statistic of the runs and its bootstrap interval.

    Attributes:
        value: [...] the statistic of the runs as they are.
        low: [...] lower end of the interval.
        high: [...] upper end.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """Returns the three as numbers or lists."""
        return {name: getattr(self, name).tolist() for name in ("value", "low", "high")}


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """Mean of the middle half of all R * T scores: floor(R * T / 4) are left out at each end.

    Args:
        scores: [..., R, T].

    Returns:
        [...].
    """
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return flat[..., cut : flat.shape[-1] - cut].mean(axis=-1)


def share(hits: np.ndarray) -> np.ndarray:
    """Share of R * T true entries; of `scores > tau` it is the performance profile at tau (section 4.2 of the paper).

    Args:
        hits: [..., R, T] bool.

    Returns:
        [...].
    """
    return hits.mean(axis=(-2, -1))


def probability_of_improvement(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """P(a run of the one > a run of the other), ties counted half, mean over the tasks (section 4.3 of the paper).

    On each task it is the Mann-Whitney U statistic over the number of pairs.

    Args:
        scores: [..., R, T].
        others: [..., R', T] of the algorithm to compare with.

    Returns:
        [...].
    """
    mine, theirs = scores[..., :, None, :], others[..., None, :, :]
    return ((mine > theirs) + 0.5 * (mine == theirs)).mean(axis=(-3, -2, -1))


def bootstrap(
    statistic: Callable[..., np.ndarray],
    *scores: np.ndarray,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap over runs.

    Args:
        statistic: Of as many arrays as are given, [..., R, T] each, to [...].
        *scores: [..., R, T], all of the same R. The same rows are drawn from each: row i of one belongs to row i of
            the other (the same seed).
        resamples: How many times R rows are drawn with replacement.
        confidence: Share of the resamples inside the interval.
        seed: Of the draws.

    Raises:
        ValueError: For fewer than two runs, which show no spread, or arrays of different R.
    """
    counts = {array.shape[-2] for array in scores}
    if len(counts) != 1 or min(counts) < 2:
        raise ValueError(
            f"Runs: {sorted(array.shape[-2] for array in scores)}; an interval needs two or more, the same number in "
            "each array. Run more seeds."
        )
    runs = counts.pop()
    rows = np.random.default_rng(seed).integers(runs, size=(resamples, runs))
    drawn = statistic(*(array[..., rows, :] for array in scores))
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=-1)
    return Interval(value=np.asarray(statistic(*scores)), low=low, high=high)
