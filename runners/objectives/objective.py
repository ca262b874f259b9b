"""The loss a learner minimises: surrogate, engine correction, KL and entropy put together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from runners.objectives.importance import ImportanceLevel, OverCap, logprob_difference, truncated_importance_weights
from runners.objectives.kl import KLKind, bounded, kl_estimate
from runners.objectives.reductions import masked_sum
from runners.objectives.stats import PolicyStats
from runners.objectives.surrogates import SURROGATES, SurrogateInputs, TokenLoss, token_advantages
from runners.support.errors import UserError
from runners.support.schedules import SCHEDULE_WORDS, Schedule, initial_value, scheduled
from runners.support.settings import Settings, setting

RatioReference = Literal["old", "rollout"]
KLPlacement = Literal["loss", "reward"]


def _positive(value: float) -> bool:
    return value > 0


def _not_negative(value: float) -> bool:
    return value >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveConfig(Settings):
    """The loss: `training(...)`.

    The defaults are GRPO's clip with a correction for the engine, without KL or entropy bonus.

    Raises:
        ValueError: For a value out of range, an unknown name, or an engine mismatch corrected twice.
    """

    surrogate: str = setting(
        "clip",
        'A name in `objectives.surrogates`, or "package.module:function".',
        "a known surrogate",
        lambda name: SURROGATES.lookup(name) is not None,
        published=True,
    )
    clip_param: float = setting(
        0.2, "Lower clip of the ratio; 1 or more leaves the lower end open.", "> 0", _positive, published=True
    )
    clip_param_high: float | None = setting(
        None, "Upper clip of the ratio; None takes clip_param.", "> 0", _positive, published=True
    )
    dual_clip: float | None = setting(
        None, "Bound on a negative advantage's loss; None is off.", "> 1", lambda value: value > 1, published=True
    )
    ratio_reference: RatioReference = setting(
        "old",
        "Whose log-probs the ratio is taken against: the learner's before the update, where importance_cap corrects "
        "what sets the engine apart, or the engine's, both at once.",
        published=True,
    )
    importance_cap: float | None = setting(
        2.0,
        'Largest weight that corrects the engine\'s mismatch; None is off. Only with ratio_reference="old".',
        "> 0",
        _positive,
        published=True,
    )
    importance_level: ImportanceLevel = setting(
        "token", "Whether tokens or whole sequences have such a weight; see `objectives.importance`.", published=True
    )
    importance_over_cap: OverCap = setting(
        "truncate", "Whether a weight over the cap becomes the cap, or 0: what has it is left out.", published=True
    )
    kl_coeff: float = setting(
        0.0, "Weight of the KL to the first policy; 0 keeps no reference model.", ">= 0", _not_negative, published=True
    )
    kl_estimator: KLKind = setting("k3", "What each does to the gradient stands in `objectives.kl`.", published=True)
    kl_placement: KLPlacement = setting("loss", "Add it to the loss, or take it off the reward.", published=True)
    kl_unbiased: bool = setting(
        False,
        "Weigh the KL in the loss by the policy's own ratio, with its gradient: for k1 and k3 the expected gradient is "
        "then the reverse KL's (DeepSeek-V3.2, https://arxiv.org/abs/2512.02556). GRPO as published does not.",
        published=True,
    )
    entropy_coeff: float | Schedule = setting(
        0.0,
        "Weight of the entropy bonus; see `support.schedules`.",
        f">= 0, {SCHEDULE_WORDS}",
        scheduled(_not_negative),
        published=True,
    )

    def __post_init__(self) -> None:
        """Checks the fields, each by itself and together."""
        Settings.__post_init__(self)
        if self.ratio_reference == "rollout" and self.importance_cap is not None:
            raise ValueError(
                f"ratio_reference='rollout' already corrects for the engine, and importance_cap={self.importance_cap} "
                f"would do so again: set importance_cap=None, or ratio_reference='old'."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveInputs:
    """A micro-batch. Only `logprobs` and `entropies` may carry gradient; the rest is constant.

    Attributes:
        logprobs: [B, T] current policy, nats.
        entropies: [B, T] of the current policy, nats.
        old_logprobs: [B, T] the learner's before the update; None if this is the first step on these samples, where
            they equal `logprobs` and the pass can be saved. With ratio_reference "rollout" it only serves to measure.
        rollout_logprobs: [B, T] the engine's; None if unknown.
        ref_logprobs: [B, T] the reference's; None if there is none.
        advantages: [B, T], or [B] where a sequence has one for all its tokens.
        loss_mask: [B, T] bool, the policy's own tokens.
        loss_weights: [B] from `sequence_loss_weights` over the whole minibatch; rows of weight 0 are left out, whatever
            their other values.
    """

    logprobs: torch.Tensor
    entropies: torch.Tensor
    old_logprobs: torch.Tensor | None = None
    rollout_logprobs: torch.Tensor | None = None
    ref_logprobs: torch.Tensor | None = None
    advantages: torch.Tensor
    loss_mask: torch.Tensor
    loss_weights: torch.Tensor

    def __post_init__(self) -> None:
        shape = self.logprobs.shape
        assert len(shape) == 2 and self.loss_mask.shape == shape and self.loss_mask.dtype == torch.bool
        assert self.advantages.shape in (shape, shape[:1]) and self.loss_weights.shape == shape[:1]
        for tensor in (self.entropies, self.old_logprobs, self.rollout_logprobs, self.ref_logprobs):
            assert tensor is None or tensor.shape == shape


def policy_loss(inputs: ObjectiveInputs, config: ObjectiveConfig) -> tuple[torch.Tensor, PolicyStats]:
    """sum_b w_b sum_t mask (importance_weight * surrogate + kl_coeff * KL - entropy_coeff * entropy).

    KL and entropy are averaged as the surrogate is, by the loss weights, and are not importance weighted.

    Args:
        inputs: A micro-batch, or the whole minibatch: the losses and gradients of parts add up to those of the whole.
        config: Which loss; an entropy_coeff that is a schedule counts as its first value.

    Returns:
        The scalar to minimise, and the sums of what it saw (detached).

    Raises:
        ValueError: If the configuration needs logprobs that the inputs lack.
        UserError: If a surrogate of a user's own does not return a `TokenLoss` of the right shape.
    """
    mask = inputs.loss_mask & (inputs.loss_weights != 0)[:, None]
    # Values outside the mask are anyone's guess, and infinity times zero is not zero: they go before they enter.
    logprobs, entropies = _within(mask, inputs.logprobs), _within(mask, inputs.entropies)
    old = logprobs.detach() if inputs.old_logprobs is None else _within(mask, inputs.old_logprobs).detach()
    rollout = None if inputs.rollout_logprobs is None else _within(mask, inputs.rollout_logprobs).detach()
    reference = _ratio_reference(config, old, rollout)
    surrogate = SURROGATES.lookup(config.surrogate)(
        SurrogateInputs(
            logprobs=logprobs,
            old_logprobs=reference,
            advantages=_within(mask, token_advantages(inputs.advantages, mask)),
            loss_mask=mask,
            clip_param=config.clip_param,
            clip_param_high=config.clip_param_high,
            dual_clip=config.dual_clip,
        )
    )
    _check_surrogate(config.surrogate, surrogate, mask)
    weights = _importance_weights(config, old, rollout, mask)
    kl = _reference_kl(config, logprobs, inputs.ref_logprobs, mask)
    per_token = surrogate.loss * weights
    if config.kl_coeff and config.kl_placement == "loss":
        own_ratio = bounded(logprobs - reference).exp() if config.kl_unbiased else 1.0
        per_token = per_token + config.kl_coeff * kl * own_ratio
    if entropy_coeff := initial_value(config.entropy_coeff):
        assert entropies.requires_grad or not logprobs.requires_grad, (
            "entropy_coeff > 0, but entropies have no gradient"
        )
        per_token = per_token - entropy_coeff * entropies
    loss = (masked_sum(per_token, mask, dim=1) * inputs.loss_weights.to(per_token.dtype)).sum()

    ratio = bounded(logprobs.detach() - reference).exp().where(mask, 0.0)
    gap_sum, gap_max, gap_exp_sum = logprob_difference(old, old if rollout is None else rollout, mask)
    return loss, _collect(
        loss=loss,
        num_tokens=mask.sum(),
        entropy_sum=masked_sum(entropies, mask),
        approx_kl_sum=masked_sum(kl_estimate(reference, logprobs, "k3"), mask),
        clip_sum=masked_sum(surrogate.clipped, mask),
        ratio_max=ratio.max() if ratio.numel() else ratio.sum(),
        kl_sum=masked_sum(kl, mask),
        importance_weight_sum=masked_sum(weights, mask),
        importance_capped_sum=masked_sum((weights >= (config.importance_cap or math.inf)) | (weights == 0), mask),
        rollout_logprob_diff_sum=gap_sum,
        rollout_logprob_diff_max=gap_max,
        rollout_logprob_diff_exp_sum=gap_exp_sum,
    )


def _within(mask: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return values.where(mask, values.new_zeros(()))


def _check_surrogate(name: str, result: TokenLoss, mask: torch.Tensor) -> None:
    if not isinstance(result, TokenLoss):
        raise UserError(f"The surrogate {name!r} returned a {type(result).__name__}; it must return a TokenLoss.")
    if not result.loss.shape == result.clipped.shape == mask.shape:
        raise UserError(
            f"The surrogate {name!r} returned loss of shape {tuple(result.loss.shape)} and clipped of shape "
            f"{tuple(result.clipped.shape)}; both must be [B, T] = {tuple(mask.shape)}, one value for each token."
        )


def _ratio_reference(config: ObjectiveConfig, old: torch.Tensor, rollout: torch.Tensor | None) -> torch.Tensor:
    if rollout is None and (config.ratio_reference == "rollout" or config.importance_cap is not None):
        raise ValueError(
            f"ratio_reference={config.ratio_reference!r} with importance_cap={config.importance_cap} needs the "
            f"engine's logprobs, and there are none: set ratio_reference='old' and importance_cap=None."
        )
    return rollout if config.ratio_reference == "rollout" and rollout is not None else old


def _importance_weights(
    config: ObjectiveConfig, old: torch.Tensor, rollout: torch.Tensor | None, mask: torch.Tensor
) -> torch.Tensor:
    if config.importance_cap is None or rollout is None:
        return torch.ones_like(old)
    return truncated_importance_weights(
        old, rollout, mask, config.importance_cap, config.importance_level, config.importance_over_cap
    )


def _reference_kl(
    config: ObjectiveConfig, logprobs: torch.Tensor, ref_logprobs: torch.Tensor | None, mask: torch.Tensor
) -> torch.Tensor:
    if ref_logprobs is not None:
        return kl_estimate(logprobs, _within(mask, ref_logprobs), config.kl_estimator)
    if config.kl_coeff and config.kl_placement == "loss":
        raise ValueError(
            f"kl_coeff={config.kl_coeff} needs the reference's logprobs, and there are none: set kl_coeff=0."
        )
    return torch.zeros_like(logprobs)


def _collect(**sums: torch.Tensor) -> PolicyStats:
    # One transfer for all: on a GPU each .item() would wait for the device.
    values = torch.stack([value.detach().double() for value in sums.values()]).tolist()
    return PolicyStats(**dict(zip(sums, values, strict=True)))
