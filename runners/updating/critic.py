"""PPO's Updater: values, an advantage for each token, and the value function's loss.

PPO: Schulman et al. 2017, https://arxiv.org/abs/1707.06347; its advantages: https://arxiv.org/abs/1506.02438.
"""

from __future__ import annotations

from typing import Any

import torch

from runners.objectives.gae import Moments, generalized_advantages, token_rewards, whiten
from runners.objectives.kl import kl_estimate
from runners.objectives.stats import PolicyStats
from runners.objectives.value_loss import explained_variance, value_loss
from runners.settings import CriticSettings
from runners.updating.ranks import sum_over_ranks
from runners.updating.scorer import Batch
from runners.updating.updater import Updater


class CriticUpdater(Updater):
    """Gives each token an advantage of its own before the first optimizer step, and trains the scorer's value head.

    The values come from the pass that scores the old logprobs; advantages are whitened by mean and deviation of the
    whole batch, over all ranks. The value loss shares the policy's forward pass, weights and gradient.

    Args:
        critic: Of the values.
        *args: Of `Updater`.
        **kwargs: Of `Updater`.
    """

    def __init__(self, critic: CriticSettings, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._critic = critic
        self._explained_variance = self._vf_loss = 0.0

    def _prepared(self, columns: Batch) -> Batch:
        """Adds value targets [B, T], and puts advantages [B, T] in the place of the sequences' rewards [B]."""
        columns = super()._prepared(columns)
        mask = columns["loss_mask"] & (columns["loss_weights_0"] != 0)[:, None]
        # What the estimator "gae" in `objectives.advantages` passes on as a sequence's advantage is its reward.
        rewards = token_rewards(columns["advantages"], mask, self._kl_penalty(columns))
        estimate = generalized_advantages(
            columns.pop("values"), rewards, mask, gamma=self._critic.gamma, lambda_=self._critic.lambda_
        )
        # A target less its value is its advantage.
        errors = sum_over_ranks(Moments.of(estimate.advantages, mask))
        targets = sum_over_ranks(Moments.of(estimate.value_targets, mask))
        self._explained_variance = explained_variance(targets, errors)
        columns["value_targets"] = estimate.value_targets
        columns["advantages"] = estimate.advantages
        if self._critic.whiten_advantages:
            columns["advantages"] = whiten(estimate.advantages, mask, errors)
        return columns

    def _old_scores(self, columns: Batch) -> Batch:
        """Returns old_logprobs and values, each [B, T], of all rows: those of the first optimizer step need values."""
        scores = self._scored(columns, self.scorer, ("logprobs", "values"))
        return {"old_logprobs": scores["logprobs"], "values": scores["values"]}

    def _kl_penalty(self, columns: Batch) -> torch.Tensor | None:
        """Returns [B, T] what the KL to the reference takes off each token's reward, where it is placed there."""
        if self._reference is None or self._objective.kl_placement != "reward":
            return None
        logprobs, ref_logprobs = columns["rollout_logprobs"].double(), columns["ref_logprobs"].double()
        return self._objective.kl_coeff * kl_estimate(logprobs, ref_logprobs, self._objective.kl_estimator)

    def _step(self, minibatch: Batch) -> dict[str, float]:
        self._vf_loss = 0.0
        return super()._step(minibatch)

    def _loss(self, scores: dict[str, torch.Tensor], micro: Batch) -> tuple[torch.Tensor, PolicyStats]:
        """Returns the micro-batch's part of the minibatch's loss, the policy's and the value function's."""
        policy_loss, seen = super()._loss(scores, micro)
        vf_loss = value_loss(
            scores["values"],
            micro["value_targets"],
            micro["loss_mask"],
            micro["loss_weights"],
            vf_clip_param=self._critic.vf_clip_param,
        )
        self._vf_loss += vf_loss.item()
        return policy_loss + self._critic.vf_loss_coeff * vf_loss, seen

    def _statistics(self, stats: PolicyStats, grad_norm: float) -> dict[str, float]:
        found = super()._statistics(stats, grad_norm)
        return {**found, "vf_loss": sum_over_ranks(self._vf_loss), "vf_explained_var": self._explained_variance}
