"""The critic's loss, and the measure of what the critic knows."""

from __future__ import annotations

import torch

from runners.objectives.gae import Moments
from runners.objectives.reductions import masked_sum


def value_loss(
    values: torch.Tensor,
    value_targets: torch.Tensor,
    loss_mask: torch.Tensor,
    loss_weights: torch.Tensor,
    *,
    vf_clip_param: float | None = None,
) -> torch.Tensor:
    """sum_b w_b sum_t mask min((V - target)^2, vf_clip_param): squared errors, averaged as the policy's loss is.

    The clip is RLlib's: a token whose squared error exceeds it passes no gradient. (PPO implementations for language
    models often clip the distance to the old value instead, which is another setting.)

    Args:
        values: [B, T] of the current critic; the gradient flows here only.
        value_targets: [B, T] of `generalized_advantages`.
        loss_mask: [B, T] bool, the policy's own tokens.
        loss_weights: [B] from `sequence_loss_weights` over the whole minibatch, so that parts add up; rows of weight 0
            are left out, whatever their values.
        vf_clip_param: Largest squared error that counts, > 0; None is no bound.

    Returns:
        Scalar.
    """
    assert values.shape == value_targets.shape == loss_mask.shape and loss_weights.shape == values.shape[:1]
    mask = loss_mask & (loss_weights != 0)[:, None]
    errors = (values - value_targets.detach()).where(mask, 0.0).square()
    if vf_clip_param is not None:
        errors = errors.clamp(max=vf_clip_param)
    return (masked_sum(errors, mask, dim=1) * loss_weights.to(errors.dtype)).sum()


def explained_variance(targets: Moments, errors: Moments) -> float:
    """1 - var(target - value) / var(target), at least -1: 1 is a perfect critic, 0 no better than a constant.

    RLlib's `vf_explained_var` from moments, which add up over learners; 0 where the targets do not differ.

    Args:
        targets: Of the value targets.
        errors: Of targets less values, over the same tokens.
    """
    if targets.variance == 0.0:
        return 0.0
    return max(-1.0, 1.0 - errors.variance / targets.variance)
