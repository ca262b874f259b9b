"""Loss masks of single completions."""

import numpy as np


def loss_mask_from_lengths(prompt_lengths: np.ndarray, completion_lengths: np.ndarray, num_tokens: int) -> np.ndarray:
    """True for the policy's own tokens, from lengths alone: a padding id may be an end token's, so ids can't tell.

    Args:
        prompt_lengths: [B] >= 1.
        completion_lengths: [B] >= 0, the end token included: emitting it is an action too.
        num_tokens: T, the padded length.

    Returns:
        [B, T] bool.

    >>> loss_mask_from_lengths(np.array([1, 2]), np.array([2, 1]), 4).astype(int).tolist()
    [[0, 1, 1, 0], [0, 0, 1, 0]]
    """
    start, length = np.asarray(prompt_lengths), np.asarray(completion_lengths)
    assert start.ndim == 1 and start.shape == length.shape and (start >= 1).all() and (length >= 0).all()
    assert (start + length <= num_tokens).all(), (start + length, num_tokens)
    position = np.arange(num_tokens)[None]
    return (position >= start[:, None]) & (position < (start + length)[:, None])
