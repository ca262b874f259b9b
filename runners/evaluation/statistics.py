"""Accuracy and its error, pass@k and maj@k, from outcomes alone: pure functions of arrays and counts.

N problems, n completions of each. The problems are the independent draws; the completions of one are not, so every
standard error is taken over the N problems' means, which clusters by problem (Miller 2024, section 2.2,
https://arxiv.org/abs/2411.00640). With n = 1 that is sqrt(p (1 - p) / N).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from statistics import NormalDist

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over problems.

    Attributes:
        value: The mean.
        standard_error: Of the mean, clustered by problem.
    """

    value: float
    standard_error: float


def mean_over_problems(per_problem: Sequence[float] | np.ndarray) -> Estimate:
    """Returns the mean of [N] numbers, one a problem, and sqrt(sum of squared deviations) / N as its standard error.

    Raises:
        ValueError: If there is no problem.
    """
    values = np.asarray(per_problem, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"Expected one number for each of at least one problem, got the shape {values.shape}.")
    return Estimate(value=float(values.mean()), standard_error=float(values.std() / math.sqrt(values.size)))


def wilson_interval(share: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Returns the score interval of a share seen in `trials` independent trials (Wilson 1927, JASA 22:209).

    With z the normal quantile: (p + z^2/2m -+ z sqrt(p(1-p)/m + z^2/4m^2)) / (1 + z^2/m). Unlike p -+ z se it stays
    inside [0, 1] and has a width at 0 and 1.

    Args:
        share: p, in [0, 1].
        trials: m > 0; need not be whole, so that an effective number of trials can be given.
        confidence: In (0, 1).

    >>> [round(bound, 4) for bound in wilson_interval(0.5, 1319)]
    [0.4731, 0.5269]
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def effective_trials(share: Estimate, num_problems: int, num_samples: int) -> float:
    """Returns how many independent trials would have the clustered standard error: p (1 - p) / se^2.

    Between the number of problems (their completions all agree, or a share of 0 or 1 shows no spread) and the number of
    completions.
    """
    variance = share.standard_error**2
    if variance == 0:
        return float(num_problems)
    return min(share.value * (1 - share.value) / variance, float(num_problems * num_samples))


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Returns the unbiased estimate that one of k completions is right, from n of which c are.

    1 - C(n-c, k) / C(n, k) = 1 - prod_{i=n-c+1..n} (1 - k/i) (Chen et al. 2021, section 2.1,
    https://arxiv.org/abs/2107.03374), here by logarithms: no large number and no loss of digits near 0.

    Raises:
        ValueError: Unless 1 <= k <= n and 0 <= c <= n.

    >>> pass_at_k(4, 1, 2)
    0.5
    """
    if not (1 <= k <= num_samples and 0 <= num_correct <= num_samples):
        raise ValueError(f"pass@{k} of {num_samples} completions, {num_correct} right: need 1 <= k <= n, 0 <= c <= n.")
    if num_samples - num_correct < k:
        return 1.0
    terms = (math.log1p(-k / i) for i in range(num_samples - num_correct + 1, num_samples + 1))
    # Adding 0 turns the negative zero of no right completion into zero.
    return -math.expm1(math.fsum(terms)) + 0.0


def majority_at_k(num_correct: int, wrong_votes: Sequence[int], num_silent: int, k: int) -> float:
    """Returns the probability that the majority of k of the n completions is right.

    It is the exact mean over all C(n, k) subsets, by counting and not by drawing (self-consistency, Wang et al. 2022,
    https://arxiv.org/abs/2203.11171). A completion votes for its answer; one without an answer does not vote. Of t
    answers that tie for most votes each wins with probability 1/t. A subset without votes is wrong.

    Args:
        num_correct: Completions with the right answer.
        wrong_votes: Completions for each wrong answer, one number an answer.
        num_silent: Completions without an answer that can be compared.
        k: Size of the subsets, from 1 to n = the sum of all these.

    Raises:
        ValueError: If k is out of its range.

    >>> majority_at_k(2, [1], 0, 3), majority_at_k(1, [1], 0, 2)
    (1.0, 0.5)
    """
    total = num_correct + sum(wrong_votes) + num_silent
    if not 1 <= k <= total:
        raise ValueError(f"maj@{k} of {total} completions: k must be from 1 to {total}.")
    return _majority(num_correct, tuple(sorted(wrong_votes)), num_silent, k)


@lru_cache(maxsize=65_536)  # over a test split few patterns of votes occur, each many times
def _majority(num_correct: int, wrong_votes: tuple[int, ...], num_silent: int, k: int) -> float:
    wins = Fraction(0)
    for votes in range(1, min(num_correct, k) + 1):
        ways = _ways_not_to_exceed(votes, wrong_votes, num_silent, k - votes)
        shared = sum((Fraction(count, ties + 1) for ties, count in ways.items()), Fraction(0))
        wins += math.comb(num_correct, votes) * shared
    return float(wins / math.comb(num_correct + sum(wrong_votes) + num_silent, k))


def _ways_not_to_exceed(votes: int, wrong_votes: Sequence[int], num_silent: int, size: int) -> dict[int, int]:
    """Returns {t: ways to choose `size` completions, none right, so that t wrong answers get `votes`, none more}."""
    ways = {(0, 0): 1}  # (completions chosen, answers with `votes`) -> ways
    for available in wrong_votes:
        extended: dict[tuple[int, int], int] = {}
        for (chosen, ties), count in ways.items():
            for more in range(min(available, votes, size - chosen) + 1):
                key = (chosen + more, ties + (more == votes))
                extended[key] = extended.get(key, 0) + count * math.comb(available, more)
        ways = extended
    by_ties: dict[int, int] = {}
    for (chosen, ties), count in ways.items():
        # comb is 0 where more silent completions would be needed than there are.
        by_ties[ties] = by_ties.get(ties, 0) + count * math.comb(num_silent, size - chosen)
    return by_ties
