"""Estimates of the KL divergence between the policy and a reference, a token at a time."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from runners.objectives.reductions import masked_sum

KLKind = Literal["k1", "k2", "k3"]
KL_KINDS: tuple[str, ...] = get_args(KLKind)

# exp(20) = 4.9e8 still squares within float32; 20 nats in one token is far outside anything worth being exact about.
LOG_RATIO_BOUND = 20.0


def bounded(log_ratio: torch.Tensor) -> torch.Tensor:
    """Clamps a log ratio to +-LOG_RATIO_BOUND before an exponential; beyond the bound the gradient is 0."""
    return log_ratio.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)


def kl_estimate(logprobs: torch.Tensor, ref_logprobs: torch.Tensor, kind: KLKind) -> torch.Tensor:
    """Estimates KL(policy || reference) from tokens the policy drew (http://joschu.net/blog/kl-approx.html).

    With d = logprobs - ref_logprobs: k1 = d; k2 = d^2 / 2; k3 = exp(-d) - 1 + d. As values k1 and k3 are unbiased, k2
    is nearly so; k2 and k3 are never negative.

    As terms of a loss they differ otherwise (https://arxiv.org/abs/2510.01555, https://arxiv.org/abs/2512.21852). The
    expected gradient of k1 is zero: it only adds noise. That of k2 is the gradient of this KL, the reverse one. That of
    k3, which GRPO uses, is the gradient of KL(reference || policy), which agrees with it only to first order around the
    reference. To penalise the reverse KL take k2 in the loss or k1 in the reward (`kl_in_reward`). All this holds for
    a token drawn from the current policy; after some updates on one batch it no longer is, and only
    `ObjectiveConfig.kl_unbiased` corrects for that.

    Args:
        logprobs: [B, T] of the policy; the gradient flows here only.
        ref_logprobs: [B, T] of the reference.
        kind: "k1", "k2" or "k3".

    Returns:
        [B, T] nats; d is bounded in k3, whose gradient is therefore 0 beyond LOG_RATIO_BOUND.

    Raises:
        ValueError: For an unknown kind.
    """
    assert logprobs.shape == ref_logprobs.shape, (logprobs.shape, ref_logprobs.shape)
    difference = logprobs - ref_logprobs.detach()
    if kind == "k1":
        return difference
    if kind == "k2":
        return difference.square() / 2
    if kind == "k3":
        difference = bounded(difference)
        # expm1 keeps the digits that exp(-d) - 1 loses near the reference, where training starts.
        return torch.expm1(-difference) + difference
    raise ValueError(f"Unknown kl_estimator {kind!r}. Known: {', '.join(KL_KINDS)}.")


def kl_in_reward(
    rewards: torch.Tensor,
    logprobs: torch.Tensor,
    ref_logprobs: torch.Tensor,
    loss_mask: torch.Tensor,
    *,
    kl_coeff: float,
    kind: KLKind = "k1",
) -> torch.Tensor:
    """r_b - kl_coeff * sum_t KL_bt: the penalty as part of the reward, before the advantages are made.

    With k1 and logprobs of the policy that drew the tokens this has the gradient of the reverse KL
    (https://arxiv.org/abs/2512.21852). It carries no gradient itself.

    Args:
        rewards: [B]; a missing reward (NaN) stays missing.
        logprobs: [B, T] of the policy that drew the tokens.
        ref_logprobs: [B, T] of the reference.
        loss_mask: [B, T] bool, the policy's own tokens.
        kl_coeff: Reward units per nat.
        kind: As in `kl_estimate`.

    Returns:
        [B] float64.
    """
    assert rewards.ndim == 1 and logprobs.shape == loss_mask.shape and len(rewards) == len(logprobs)
    with torch.no_grad():
        kl = masked_sum(kl_estimate(logprobs.double(), ref_logprobs.double(), kind), loss_mask, dim=1)
        return rewards.double() - kl_coeff * kl
