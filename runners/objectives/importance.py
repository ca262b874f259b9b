"""The engine is not the learner: weights that correct for it, and the measure of how far they differ."""

from __future__ import annotations

import warnings
from typing import Literal, get_args

import torch

from runners.objectives.kl import bounded
from runners.objectives.reductions import masked_sum

ImportanceLevel = Literal["token", "sequence", "geometric"]
OverCap = Literal["truncate", "mask"]
IMPORTANCE_LEVELS: tuple[str, ...] = get_args(ImportanceLevel)

# Engine and learner in float32 differ by rounding, 1e-6 or so a token. Ten thousand times that is another policy:
# stale weights, another temperature, another tokenisation.
MISMATCH_BOUND = 0.01
# Samples of earlier policies differ as those do. Where the mean of exp |difference| is beyond this, half of what the
# weights would correct is noise.
STALE_MISMATCH_BOUND = 1.5


def truncated_importance_weights(
    old_logprobs: torch.Tensor,
    rollout_logprobs: torch.Tensor,
    loss_mask: torch.Tensor,
    cap: float,
    level: ImportanceLevel = "token",
    over_cap: OverCap = "truncate",
) -> torch.Tensor:
    """The weights w = min(exp(old_logprobs - rollout_logprobs), cap), without gradient.

    The tokens were drawn by the engine's policy, the surrogate's expectation is under the learner's; w moves it from
    one to the other, and the cap bounds its variance at the price of a bias (Yao et al. 2025, "Your Efficient RL
    Framework Secretly Brings You Off-Policy RL Training", https://fengyao.notion.site/off-policy-rl).

    Args:
        old_logprobs: [B, T] the learner's, before the update.
        rollout_logprobs: [B, T] the engine's, of the distribution it sampled from.
        loss_mask: [B, T] bool.
        cap: Largest weight, > 0.
        level: "token"; "sequence" for one weight from the sum of a row's differences; "geometric" for one from their
            mean, the geometric mean of the token weights, which does not grow with the length.
        over_cap: "truncate" has a weight beyond the cap be the cap; "mask" has it be 0, so that what lies so far off
            the policy teaches nothing (trl's token_mask and sequence_mask, `vllm_importance_sampling_mode`).

    Returns:
        [B, T] float; 1 outside the mask at level "token", the row's weight everywhere at the others.
    """
    assert old_logprobs.shape == rollout_logprobs.shape == loss_mask.shape and loss_mask.ndim == 2
    assert cap > 0 and level in IMPORTANCE_LEVELS, (cap, level)
    with torch.no_grad():
        difference = (old_logprobs - rollout_logprobs).where(loss_mask, old_logprobs.new_zeros(()))
        if level != "token":
            total = difference.sum(1, keepdim=True)
            if level == "geometric":
                total = total / loss_mask.sum(1, keepdim=True).clamp(min=1)
            difference = total.expand_as(difference)
        weights = bounded(difference).exp()
        return weights.clamp(max=cap) if over_cap == "truncate" else weights.where(weights <= cap, 0.0)


def logprob_difference(
    old_logprobs: torch.Tensor, rollout_logprobs: torch.Tensor, loss_mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """|old - rollout| over the mask.

    Args:
        old_logprobs: [B, T].
        rollout_logprobs: [B, T].
        loss_mask: [B, T] bool.

    Returns:
        (sum, largest, sum of exp), scalars, the first two in nats; 0 for an empty mask. Divide a sum by the number of
        tokens for the mean.
    """
    assert old_logprobs.shape == rollout_logprobs.shape == loss_mask.shape
    with torch.no_grad():
        gap = (old_logprobs - rollout_logprobs).abs().where(loss_mask, old_logprobs.new_zeros(()))
        largest = gap.max() if gap.numel() else gap.sum()
        return masked_sum(gap, loss_mask), largest, masked_sum(bounded(gap).exp(), loss_mask)


def warn_on_mismatch(mean: float, largest: float, exp_mean: float, *, stale: bool) -> bool:
    """Warns if engine and learner disagree by more than the bound, or by what is not a number.

    Args:
        mean: Of |old - rollout|, nats a token.
        largest: The largest.
        exp_mean: Mean of its exponential.
        stale: Whether samples of earlier policies are meant to be among them.

    Returns:
        Whether it warned.
    """
    if stale and exp_mean <= STALE_MISMATCH_BOUND:
        return False
    if stale:
        warnings.warn(
            f"The samples are far off the policy: the mean of exp |rollout - old logprob| is {exp_mean:.3g} (bound "
            f"{STALE_MISMATCH_BOUND:g}). A lower max_staleness or lr helps.",
            stacklevel=2,
        )
        return True
    bound = MISMATCH_BOUND
    if mean <= bound:
        return False
    warnings.warn(
        f"Engine and learner logprobs differ by {mean:.3g} nats a token in the mean (bound {bound:g}), {largest:.3g} "
        f"at most: the engine's weights may be stale, or its temperature, sampling filters or dtype other than the "
        f"learner's.",
        stacklevel=2,
    )
    return True
