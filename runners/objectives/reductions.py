"""Masked sums, and the factor of each sequence in the loss."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch

from agents.names import did_you_mean

Aggregation = Literal["token-mean", "sequence-mean", "constant-length"]
AGGREGATIONS: tuple[str, ...] = get_args(Aggregation)


def sequence_loss_weights(
    lengths: np.ndarray,
    valid: np.ndarray,
    aggregation: Aggregation,
    max_tokens: int | None = None,
    turns: np.ndarray | None = None,
) -> np.ndarray:
    """The factor w_b of each sequence in loss = sum_b w_b * sum_t mask * per_token_loss.

    Made once from the whole minibatch, before it is split: micro-batches and learners then add up to the same loss and
    gradient however the rows are dealt out. (Where a framework averages gradients over learners, multiply by their
    number.) With S valid rows of at least one token:

    - "token-mean", 1 / total tokens (DAPO, https://arxiv.org/abs/2503.14476): every token counts alike, so a long
      completion moves the policy more than a short one of the same advantage, and a batch's long ones set the scale.
    - "sequence-mean", 1 / (S * length) (GRPO, https://arxiv.org/abs/2402.03300): every completion counts alike, so a
      token of a long one counts less: long wrong answers are punished less for each token, and length grows.
    - "constant-length", 1 / (turns of the S rows * max_tokens) (Dr. GRPO, https://arxiv.org/abs/2503.20783): no term
      depends on the length drawn, so the gradient is that of the expected reward up to a constant; its size falls with
      max_tokens. A row of several turns has a completion in each, and max_tokens is the limit of one.

    Args:
        lengths: [B] tokens in the loss mask.
        valid: [B] bool; False leaves the row out of the loss and of every denominator.
        aggregation: One of AGGREGATIONS.
        max_tokens: The sampling limit; only "constant-length" uses it, and turns.
        turns: [B] turns of each row, >= 1; None where all have one.

    Returns:
        [B] float64, 0 for rows left out; all 0 if no row is left.

    Raises:
        ValueError: For an unknown aggregation, or "constant-length" without max_tokens.
    """
    lengths, valid = np.asarray(lengths), np.asarray(valid, bool)
    assert lengths.ndim == 1 and lengths.shape == valid.shape, (lengths.shape, valid.shape)
    used = valid & (lengths > 0)
    rows, tokens = max(int(used.sum()), 1), max(int(lengths[used].sum()), 1)
    if aggregation == "token-mean":
        return used / tokens
    if aggregation == "sequence-mean":
        return used / (rows * np.maximum(lengths, 1))
    if aggregation == "constant-length":
        if max_tokens is None or max_tokens < 1:
            raise ValueError(f"aggregation='constant-length' needs max_tokens >= 1, not {max_tokens!r}.")
        completions = rows if turns is None else max(int(turns[used].sum()), 1)
        return used / float(completions * max_tokens)
    raise ValueError(
        f"Unknown aggregation {aggregation!r}.{did_you_mean(aggregation, AGGREGATIONS)} "
        f"Known: {', '.join(AGGREGATIONS)}."
    )


def masked_sum(values: torch.Tensor, mask: torch.Tensor, dim: int | None = None) -> torch.Tensor:
    """Sum of `values` where `mask`, over `dim` or all; what lies outside the mask may be anything, NaN included."""
    assert values.shape == mask.shape and mask.dtype == torch.bool, (values.shape, mask.shape, mask.dtype)
    kept = values.where(mask, values.new_zeros(()))
    return kept.sum() if dim is None else kept.sum(dim)


def masked_mean(values: torch.Tensor, mask: torch.Tensor, dim: int | None = None) -> torch.Tensor:
    """Mean of `values` where `mask`, over `dim` or all; 0 where the mask is empty."""
    count = mask.sum() if dim is None else mask.sum(dim)
    return masked_sum(values, mask, dim) / count.clamp(min=1)
