"""Which rows go together: minibatches for an optimizer step, micro-batches for a forward pass."""

from __future__ import annotations

import numpy as np
import torch


def plan_minibatches(
    num_rows: int,
    minibatch_size: int | None,
    num_epochs: int,
    rng: np.random.Generator,
    group_ids: np.ndarray | None = None,
) -> np.ndarray:
    """Deals the rows into minibatches of equal size, anew in every epoch.

    Args:
        num_rows: B.
        minibatch_size: Rows in each; None puts all in one.
        num_epochs: Passes over the rows, >= 1.
        rng: Shuffles the rows.
        group_ids: [B]; if given, the rows of a group stay together (groups are then shuffled, not rows).

    Returns:
        [num_epochs, B] int64, the number of the minibatch that each row belongs to, 0..B / minibatch_size - 1.

    Raises:
        ValueError: If the rows, or the groups, don't fill the minibatches exactly.
    """
    size = num_rows if minibatch_size is None else minibatch_size
    if size < 1 or num_rows % size or num_epochs < 1:
        raise ValueError(
            f"{num_rows} rows can't be dealt into minibatches of {minibatch_size} over {num_epochs} epochs: "
            f"minibatch_size must divide the number of rows (or be None for all), and num_epochs be >= 1."
        )
    units = np.arange(num_rows) if group_ids is None else _equal_groups(np.asarray(group_ids), num_rows, size)
    num_units = int(units.max()) + 1
    deal = np.arange(num_units) * (num_rows // num_units) // size
    return np.stack([rng.permutation(deal)[units] for _ in range(num_epochs)])


def _equal_groups(group_ids: np.ndarray, num_rows: int, minibatch_size: int) -> np.ndarray:
    assert group_ids.shape == (num_rows,), (group_ids.shape, num_rows)
    _, units, counts = np.unique(group_ids, return_inverse=True, return_counts=True)
    if len(set(counts)) > 1 or minibatch_size % counts[0]:
        raise ValueError(
            f"Groups of {sorted(set(counts.tolist()))} rows don't fill minibatches of {minibatch_size}: all groups "
            f"must have one size that divides minibatch_size, or be allowed to be split (group_ids=None)."
        )
    return units


def micro_batches(lengths: np.ndarray, max_tokens: int) -> list[np.ndarray]:
    """Cuts rows into batches of at most `max_tokens` padded tokens, rows of like length together.

    Greedy over the rows from long to short, so that the batch that needs the most memory comes first.

    Args:
        lengths: [B] tokens in each row, prompt and completion.
        max_tokens: Bound on rows * longest row; a single longer row makes a batch of its own.

    Returns:
        Index arrays that hold every row exactly once.

    Raises:
        ValueError: If max_tokens is not positive.

    >>> [rows.tolist() for rows in micro_batches(np.array([2, 9, 3, 3]), 6)]
    [[1], [2, 3], [0]]
    """
    lengths = np.asarray(lengths)
    assert lengths.ndim == 1, lengths.shape
    if max_tokens < 1:
        raise ValueError(f"max_tokens_per_micro_batch={max_tokens!r}: it must be >= 1.")
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        longest = max(int(lengths[order[start]]), 1)
        stop = start + max(1, max_tokens // longest)
        batches.append(order[start:stop])
        start = stop
    return batches


def trim(lengths: torch.Tensor, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Cuts the padding that no row of a micro-batch needs.

    Args:
        lengths: [B] tokens in each row.
        *tensors: each [B, T, ...].

    Returns:
        The tensors as [B, longest, ...], views of the given ones.
    """
    assert all(len(tensor) == len(lengths) for tensor in tensors)
    longest = int(lengths.max()) if len(lengths) else 0
    return tuple(tensor[:, :longest] for tensor in tensors)
