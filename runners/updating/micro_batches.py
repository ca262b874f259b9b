"""The rows of a minibatch as they go through the model: a few at a time, of like length, without needless padding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from runners.objectives.batching import micro_batches, trim
from runners.objectives.packing import shared_rows
from runners.updating.ranks import over_ranks
from runners.updating.scorer import Batch


def passes(
    columns: Batch, *, max_tokens: int, max_row_tokens: int | None, in_step: bool
) -> Iterator[tuple[torch.Tensor, Batch]]:
    """Yields row indices and their columns.

    Args:
        columns: [B, ...] each, with token_ids, loss_mask and lengths.
        max_tokens: Most padded tokens of a pass.
        max_row_tokens: The completions that `shared_rows` puts into a row stay together; None gives each its own.
        in_step: Whether all ranks must make as many passes, as sharded ones do: a rank with fewer adds dummy batches,
            whose row indices are empty.
    """
    batches = _micro_batches(columns, max_tokens, max_row_tokens)
    if not in_step:
        yield from batches
        return
    own = list(batches)
    missing = over_ranks(max, len(own)) - len(own)
    yield from own
    for _ in range(missing):
        yield _dummy_batch(columns["token_ids"].device)


def _micro_batches(columns: Batch, max_tokens: int, max_row_tokens: int | None) -> Iterator[tuple[torch.Tensor, Batch]]:
    lengths = columns["lengths"]
    if max_row_tokens is None:
        units, tokens = np.arange(len(lengths)), lengths.cpu().numpy()
    else:
        ids, mask, tokens = (columns[name].cpu().numpy() for name in ("token_ids", "loss_mask", "lengths"))
        units, tokens = shared_rows(ids, mask, tokens, max_row_tokens)
    for chosen in micro_batches(tokens, max_tokens):
        rows = torch.as_tensor(np.flatnonzero(np.isin(units, chosen)), device=lengths.device)
        wide = [name for name, column in columns.items() if column.ndim == 2]
        trimmed = trim(lengths[rows], *(columns[name][rows] for name in wide))
        yield rows, {name: column[rows] for name, column in columns.items()} | dict(zip(wide, trimmed, strict=True))


def _dummy_batch(device: torch.device) -> tuple[torch.Tensor, Batch]:
    """Returns no row indices, and two tokens for a pass that counts for nothing."""
    micro = {
        "token_ids": torch.zeros(1, 2, dtype=torch.int64),
        "loss_mask": torch.tensor([[False, True]]),
        "lengths": torch.tensor([2]),
    }
    return torch.tensor([], dtype=torch.int64), {name: column.to(device) for name, column in micro.items()}
