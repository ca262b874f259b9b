"""The loss of supervised fine-tuning: cross-entropy with tokens that are given."""

from __future__ import annotations

import torch

from runners.objectives.reductions import masked_sum
from runners.objectives.stats import PolicyStats


def log_loss(
    logprobs: torch.Tensor, entropies: torch.Tensor, loss_mask: torch.Tensor, loss_weights: torch.Tensor
) -> tuple[torch.Tensor, PolicyStats]:
    """-sum_b w_b sum_t mask * logprobs: the gradient is that of REINFORCE on completions of reward 1.

    Args:
        logprobs: [B, T] of the policy, nats; it carries the gradient.
        entropies: [B, T] of the policy, nats.
        loss_mask: [B, T] bool, the completions' tokens.
        loss_weights: [B] from `sequence_loss_weights` over the whole minibatch; with "token-mean" the loss is nats a
            token.

    Returns:
        The scalar to minimise, of whose parts the whole's is the sum, and the sums of what it saw (detached).
    """
    assert logprobs.shape == entropies.shape == loss_mask.shape and loss_weights.shape == logprobs.shape[:1]
    loss = -(masked_sum(logprobs, loss_mask, dim=1) * loss_weights.to(logprobs.dtype)).sum()
    # One transfer for all: on a GPU each .item() would wait for the device.
    seen = [loss.detach(), loss_mask.sum(), masked_sum(entropies, loss_mask)]
    value, num_tokens, entropy_sum = torch.stack([number.double() for number in seen]).tolist()
    return loss, PolicyStats(loss=value, num_tokens=num_tokens, entropy_sum=entropy_sum)
