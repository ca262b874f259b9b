"""Surrogate losses: what is differentiated in place of the expected reward, a token at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from runners.objectives.kl import bounded
from runners.objectives.reductions import masked_mean
from runners.objectives.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class SurrogateInputs:
    """What a surrogate sees. Only `logprobs` carries gradient; `old_logprobs` and `advantages` are detached here.

    Attributes:
        logprobs: [B, T] current policy, nats.
        old_logprobs: [B, T] the policy the ratio is taken against, nats.
        advantages: [B, T] one for each token; [B], one for each sequence, is spread over its tokens.
        loss_mask: [B, T] bool, the tokens that count; values elsewhere are finite and ignored.
        clip_param: The ratio is clipped below at 1 - clip_param.
        clip_param_high: The ratio is clipped above at 1 + clip_param_high; None takes clip_param.
        dual_clip: c > 1 bounds the loss of a negative advantage at -c * advantage; None leaves it unbounded.
    """

    logprobs: torch.Tensor
    old_logprobs: torch.Tensor
    advantages: torch.Tensor
    loss_mask: torch.Tensor
    clip_param: float = 0.2
    clip_param_high: float | None = None
    dual_clip: float | None = None

    def __post_init__(self) -> None:
        assert self.logprobs.ndim == 2 and self.loss_mask.dtype == torch.bool
        assert self.logprobs.shape == self.old_logprobs.shape == self.loss_mask.shape
        object.__setattr__(self, "old_logprobs", self.old_logprobs.detach())
        object.__setattr__(self, "advantages", token_advantages(self.advantages, self.logprobs).detach())

    @property
    def log_ratio(self) -> torch.Tensor:
        """[B, T] logprobs - old_logprobs, not yet bounded."""
        return self.logprobs - self.old_logprobs

    @property
    def low(self) -> float:
        """Lower end of the ratio's clip range."""
        return 1.0 - self.clip_param

    @property
    def high(self) -> float:
        """Upper end of the ratio's clip range."""
        return 1.0 + (self.clip_param if self.clip_param_high is None else self.clip_param_high)


def token_advantages(advantages: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Returns advantages [B] or [B, T] as [B, T], the shape of `like`; a sequence's one is that of all its tokens."""
    assert advantages.shape in (like.shape, like.shape[:1]), (advantages.shape, like.shape)
    return advantages if advantages.ndim == 2 else advantages[:, None].expand_as(like)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLoss:
    """What a surrogate returns.

    Attributes:
        loss: [B, T] to be minimised.
        clipped: [B, T] bool, tokens whose gradient or weight the clip took away or cut.
    """

    loss: torch.Tensor
    clipped: torch.Tensor


SurrogateFunction = Callable[[SurrogateInputs], TokenLoss]
SURROGATES: Registry[SurrogateFunction] = Registry("surrogate")
register_surrogate = SURROGATES.register


@register_surrogate("clip")
def clip(inputs: SurrogateInputs) -> TokenLoss:
    """-min(r A, clamp(r, 1 - clip_param, 1 + clip_param_high) A), r = exp(logprobs - old_logprobs).

    PPO (https://arxiv.org/abs/1707.06347) for each token, as in GRPO (https://arxiv.org/abs/2402.03300); a higher upper
    end is DAPO's (https://arxiv.org/abs/2503.14476). With dual_clip = c, a negative advantage's loss is at most -c A
    (https://arxiv.org/abs/1912.09729).

    Returns:
        [B, T] loss, and the tokens that carry no gradient because of a clip.
    """
    return _clipped_ratio(inputs, bounded(inputs.log_ratio).exp())


@register_surrogate("gspo")
def gspo(inputs: SurrogateInputs) -> TokenLoss:
    """The clip on the sequence's ratio s = exp(mean_t(logprobs - old_logprobs)), https://arxiv.org/abs/2507.18071.

    In the token form of that paper (GSPO-token): every token's value is s, its gradient that of its own logprob times
    s. With "sequence-mean" aggregation this is the paper's objective. Its clip range is far narrower than PPO's: the
    paper takes 3e-4 below and 4e-4 above.

    Returns:
        [B, T] loss, and all tokens of the sequences that were clipped.
    """
    sequence = masked_mean(inputs.log_ratio.detach(), inputs.loss_mask, dim=1)
    # The difference is 0 in value and carries each token's gradient; outside the clamp's bounds the clip cuts it.
    return _clipped_ratio(inputs, bounded(sequence[:, None] + inputs.logprobs - inputs.logprobs.detach()).exp())


def _clipped_ratio(inputs: SurrogateInputs, ratio: torch.Tensor) -> TokenLoss:
    advantages = inputs.advantages
    loss = torch.maximum(-ratio * advantages, -ratio.clamp(inputs.low, inputs.high) * advantages)
    clipped = ((ratio > inputs.high) & (advantages > 0)) | ((ratio < inputs.low) & (advantages < 0))
    if inputs.dual_clip is not None:
        loss = torch.where(advantages < 0, torch.minimum(loss, -inputs.dual_clip * advantages), loss)
        clipped = clipped | ((ratio > inputs.dual_clip) & (advantages < 0))
    return TokenLoss(loss=loss, clipped=clipped)


@register_surrogate("cispo")
def cispo(inputs: SurrogateInputs) -> TokenLoss:
    """-stop_gradient(clamp(r, 1 - clip_param, 1 + clip_param_high)) A logprobs, https://arxiv.org/abs/2506.13585.

    The weight is clipped, not the loss, so every token keeps its gradient. The paper leaves the lower end open:
    clip_param = 1.

    Returns:
        [B, T] loss, and the tokens whose weight was cut.
    """
    ratio = bounded(inputs.log_ratio.detach()).exp()
    loss = -ratio.clamp(inputs.low, inputs.high) * inputs.advantages * inputs.logprobs
    return TokenLoss(loss=loss, clipped=(ratio < inputs.low) | (ratio > inputs.high))


@register_surrogate("reinforce")
def reinforce(inputs: SurrogateInputs) -> TokenLoss:
    """-A logprobs (Williams 1992, https://doi.org/10.1007/BF00992696): no ratio, so for one update on fresh samples.

    Returns:
        [B, T] loss; nothing is clipped.
    """
    loss = -inputs.advantages * inputs.logprobs
    return TokenLoss(loss=loss, clipped=torch.zeros_like(inputs.loss_mask))
