"""Whether a model is better than another on the same problems, or luck would do."""

from __future__ import annotations

import math
from collections.abc import Sequence


def exact_mcnemar(before: Sequence[bool], after: Sequence[bool]) -> float:
    """Returns the two-sided p-value of McNemar's exact test (1947, https://doi.org/10.1007/BF02295996).

    Only problems on which the two differ say anything: without a difference each is a fair coin.

    Args:
        before: [N] whether each problem was solved.
        after: [N] the same problems, by the other.

    >>> exact_mcnemar([True, False, False, False, False, False], [False, True, True, True, True, True])
    0.21875
    """
    pairs = list(zip(before, after, strict=True))
    gained, lost = pairs.count((False, True)), pairs.count((True, False))
    apart = gained + lost
    tail = sum(math.comb(apart, k) for k in range(min(gained, lost) + 1)) / 2**apart
    return min(1.0, 2 * tail)
