"""Sequences that begin other sequences: in causal attention their states are the other's, up to where they end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def sequence_keys(token_ids: np.ndarray, lengths: np.ndarray) -> list[bytes]:
    """Returns each row's tokens as bytes; of equally typed rows one begins another exactly if its key does.

    Args:
        token_ids: int [B, T], padded on the right.
        lengths: int [B].
    """
    return [row[:length].tobytes() for row, length in zip(token_ids, lengths.tolist(), strict=True)]


def longest_rows(keys: Sequence[bytes]) -> list[int]:
    """Returns [B] for each row a row that it begins and that begins no further one; itself where it begins none.

    In lexicographic order the rows that begin with a key follow right behind it.

    >>> longest_rows([b"ab", b"abc", b"b", b"abd", b"a", b"b"])
    [1, 1, 5, 3, 1, 5]
    """
    order = sorted(range(len(keys)), key=keys.__getitem__)
    longest = list(range(len(keys)))
    for row, following in zip(order[-2::-1], order[:0:-1], strict=True):
        if keys[following].startswith(keys[row]):
            longest[row] = longest[following]
    return longest
