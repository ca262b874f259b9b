"""Generalized advantage estimation: one advantage for each token, from a critic's values and the rewards."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from runners.objectives.reductions import masked_sum

# Advantages that hardly differ are left small rather than blown up to unit spread; RLlib's bound.
MIN_STD = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAdvantages:
    """What a critic makes of a batch.

    Attributes:
        advantages: [B, T] in the values' dtype, 0 outside the mask.
        value_targets: [B, T] advantages + values: what the values are trained towards; 0 outside the mask.
    """

    advantages: torch.Tensor
    value_targets: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Sums from which mean and variance follow; `a + b` is the same of both parts together.

    Attributes:
        count: Numbers summed.
        total: Their sum.
        squares: The sum of their squares.
    """

    count: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: torch.Tensor, mask: torch.Tensor) -> Moments:
        """Returns the moments of `values` [B, T] where `mask` [B, T] bool, summed in float64."""
        values = values.detach().double()
        sums = torch.stack([mask.sum().double(), masked_sum(values, mask), masked_sum(values.square(), mask)])
        count, total, squares = sums.tolist()
        return cls(count=count, total=total, squares=squares)

    def __add__(self, other: Moments) -> Moments:
        """Sums field by field."""
        return Moments(
            count=self.count + other.count, total=self.total + other.total, squares=self.squares + other.squares
        )

    @property
    def mean(self) -> float:
        """Mean; 0 of nothing."""
        return self.total / max(self.count, 1.0)

    @property
    def variance(self) -> float:
        """Mean squared distance from the mean; 0 of nothing."""
        return max(self.squares / max(self.count, 1.0) - self.mean**2, 0.0)


def token_rewards(
    rewards: torch.Tensor, loss_mask: torch.Tensor, kl_penalty: torch.Tensor | None = None
) -> torch.Tensor:
    """The environment's reward at the last of a sequence's own tokens, less a penalty at each of them.

    Args:
        rewards: [B] of the whole sequence.
        loss_mask: [B, T] bool, the policy's own tokens.
        kl_penalty: [B, T] in reward units, coefficient included; None is none.

    Returns:
        [B, T] float64, 0 outside the mask.

    >>> token_rewards(torch.tensor([2.0]), torch.tensor([[False, True, True, False]])).tolist()
    [[0.0, 0.0, 2.0, 0.0]]
    """
    assert (
        rewards.ndim == 1 and loss_mask.ndim == 2 and len(rewards) == len(loss_mask) and loss_mask.dtype == torch.bool
    )
    later = loss_mask.flip(1).cumsum(1).flip(1)  # own tokens from here on
    at_last_token = rewards.double()[:, None].where(loss_mask & (later == 1), 0.0)
    if kl_penalty is None:
        return at_last_token
    return at_last_token - kl_penalty.double().where(loss_mask, 0.0)


def generalized_advantages(
    values: torch.Tensor, rewards: torch.Tensor, loss_mask: torch.Tensor, *, gamma: float = 1.0, lambda_: float = 1.0
) -> TokenAdvantages:
    """A_t = delta_t + gamma * lambda_ * A_{t+1} with delta_t = r_t + gamma * V_{t+1} - V_t.

    Schulman et al. 2015, https://arxiv.org/abs/1506.02438, equation 16. A step is one of the policy's own tokens, so
    t + 1 is the row's next masked token, whatever lies between (an environment's turn); after the last one the episode
    has ended, and V and A are 0. lambda_ = 1 gives the discounted return less the value, lambda_ = 0 gives delta.

    Args:
        values: [B, T] V_t, the critic's estimate of the return before token t was chosen.
        rewards: [B, T] r_t, for choosing token t; see `token_rewards`.
        loss_mask: [B, T] bool, the policy's own tokens, contiguous or not; the other two are ignored elsewhere.
        gamma: Discount a token, in [0, 1].
        lambda_: Weight of the longer estimates, in [0, 1]: 1 is free of the critic's bias, less has less variance.

    Returns:
        Advantages and value targets, without gradient.
    """
    assert values.shape == rewards.shape == loss_mask.shape and values.ndim == 2 and loss_mask.dtype == torch.bool
    with torch.no_grad():
        known = values.double().where(loss_mask, 0.0)
        advantages = torch.zeros_like(known)
        next_value = next_advantage = known.new_zeros(len(known))
        for t in range(known.shape[1] - 1, -1, -1):
            delta = rewards[:, t] + gamma * next_value - known[:, t]
            advantage = delta + gamma * lambda_ * next_advantage
            own = loss_mask[:, t]
            advantages[:, t] = advantage.where(own, 0.0)
            next_value, next_advantage = known[:, t].where(own, next_value), advantage.where(own, next_advantage)
        return TokenAdvantages(
            advantages=advantages.to(values.dtype), value_targets=(advantages + known).to(values.dtype)
        )


def whiten(advantages: torch.Tensor, loss_mask: torch.Tensor, moments: Moments) -> torch.Tensor:
    """(A - mean) / max(std, MIN_STD) over the masked tokens of a whole batch.

    Args:
        advantages: [B, T] of any part of the batch.
        loss_mask: [B, T] bool.
        moments: Of the whole batch's advantages, the sum of its parts' `Moments.of`.

    Returns:
        [B, T], 0 outside the mask.
    """
    assert advantages.shape == loss_mask.shape
    return ((advantages - moments.mean) / max(moments.variance**0.5, MIN_STD)).where(loss_mask, 0.0)
