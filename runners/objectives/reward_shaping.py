"""What is added to the environment's reward before the advantages are made."""

from __future__ import annotations

import numpy as np


def overlong_punishment(completion_lengths: np.ndarray, max_tokens: int, buffer: int) -> np.ndarray:
    """0 up to max_tokens - buffer tokens, then falling in a line to -1 at max_tokens.

    The soft punishment of DAPO (https://arxiv.org/abs/2503.14476, equation 13) with L_max = max_tokens and
    L_cache = buffer. A completion that is cut has max_tokens tokens and gets -1.

    Args:
        completion_lengths: [B] tokens of a turn, the end token included.
        max_tokens: The sampling limit, >= 1.
        buffer: Tokens before the limit in which the punishment grows, 1..max_tokens.

    Returns:
        [B] float64 in [-1, 0], to be weighted and added to the rewards: each turn's to that of its episode.

    >>> overlong_punishment(np.array([3, 6, 7, 8, 10]), max_tokens=10, buffer=4).tolist()
    [0.0, 0.0, -0.25, -0.5, -1.0]
    """
    lengths = np.asarray(completion_lengths)
    assert lengths.ndim == 1 and 1 <= buffer <= max_tokens, (lengths.shape, buffer, max_tokens)
    return np.minimum(0.0, np.maximum(-1.0, (max_tokens - buffer - lengths) / buffer))
