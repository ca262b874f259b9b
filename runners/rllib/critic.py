"""The learner of PPO: values, an advantage for each token, and the value function's loss.

PPO: Schulman et al. 2017, https://arxiv.org/abs/1707.06347; its advantages: https://arxiv.org/abs/1506.02438.
"""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from runners.objectives.gae import Moments, generalized_advantages, token_rewards, whiten
from runners.objectives.kl import kl_estimate
from runners.objectives.stats import PolicyStats
from runners.objectives.value_loss import explained_variance, value_loss
from runners.rllib.learner import GRPOLearner
from runners.rllib.scorer import Batch


class CriticLearner(GRPOLearner):
    """Gives each token an advantage of its own before the first optimizer step, and trains the module's value head.

    The values come from the pass that scores the old logprobs; advantages are whitened by mean and deviation of the
    whole batch, over all learners. The value loss shares the policy's forward pass, weights and gradient.
    """

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Registers AdamW over the language model's parameters, and another over the value head's.

        The head starts from nothing where the model is pretrained, so it has a rate of its own (`vf_lr`); RLlib clips
        the gradients of each optimizer apart.
        """
        super().configure_optimizers_for_module(module_id, config)
        self._register_adamw("vf_head", module_id, config, self.module[module_id].vf_head, config.vf_lr)

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: Batch, fwd_out: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Returns the micro-batch's part of the minibatch's loss, the policy's and the value function's; a scalar."""
        policy_loss = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        vf_loss = value_loss(
            fwd_out["values"],
            batch["value_targets"],
            batch["loss_mask"],
            batch["loss_weights"],
            vf_clip_param=config.vf_clip_param,
        )
        self._vf_loss += vf_loss.item()
        return policy_loss + config.vf_loss_coeff * vf_loss

    def _prepare(self, columns: Batch) -> None:
        """Adds value targets [B, T], and puts advantages [B, T] in the place of the sequences' rewards [B]."""
        super()._prepare(columns)
        mask = columns["loss_mask"] & (columns["loss_weights_0"] != 0)[:, None]
        # What the estimator "gae" in `objectives.advantages` passes on as a sequence's advantage is its reward.
        rewards = token_rewards(columns["advantages"], mask, self._kl_penalty(columns))
        estimate = generalized_advantages(
            columns.pop("values"), rewards, mask, gamma=self.config.gamma, lambda_=self.config.lambda_
        )
        # A target less its value is its advantage.
        errors = self._sum_over_learners(Moments.of(estimate.advantages, mask))
        targets = self._sum_over_learners(Moments.of(estimate.value_targets, mask))
        self._log_mean("vf_explained_var", explained_variance(targets, errors))
        columns["value_targets"] = estimate.value_targets
        columns["advantages"] = estimate.advantages
        if self.config.whiten_advantages:
            columns["advantages"] = whiten(estimate.advantages, mask, errors)

    def _old_scores(self, columns: Batch) -> Batch:
        """Returns old_logprobs and values, each [B, T], of all rows: those of the first optimizer step need values."""
        scores = self._scored(columns, self._policy.scorer, ("logprobs", "values"))
        return {"old_logprobs": scores["logprobs"], "values": scores["values"]}

    def _kl_penalty(self, columns: Batch) -> torch.Tensor | None:
        """Returns [B, T] what the KL to the reference takes off each token's reward, where it is placed there."""
        if self._reference is None or self.config.kl_placement != "reward":
            return None
        logprobs, ref_logprobs = columns["rollout_logprobs"].double(), columns["ref_logprobs"].double()
        return self.config.kl_coeff * kl_estimate(logprobs, ref_logprobs, self.config.kl_estimator)

    def _update(self, batch: dict[str, Any], **kwargs: Any) -> tuple[dict, dict[str, torch.Tensor], dict]:
        """Makes one optimizer step."""
        self._vf_loss = 0.0
        return super()._update(batch, **kwargs)

    def _log(self, stats: PolicyStats, grad_norm: float) -> None:
        super()._log(stats, grad_norm)
        self._log_mean("vf_loss", self._sum_over_learners(self._vf_loss))

    def _log_mean(self, name: str, value: float) -> None:
        self.metrics.log_value((DEFAULT_MODULE_ID, name), value, reduce="mean")
