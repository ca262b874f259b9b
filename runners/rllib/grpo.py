"""GRPO as an RLlib algorithm: the configuration and the training step.

    config = GRPOConfig().environment("gsm8k_env:GSM8K-v0", env_config={"dataset": "builtin:1-2"})
    algo = config.build_algo()
    algo.train()

Group Relative Policy Optimization: Shao et al., DeepSeekMath, https://arxiv.org/abs/2402.03300.
"""

from __future__ import annotations

import time
from operator import methodcaller
from typing import Any

import numpy as np
from ray.tune import register_trainable

from runners.objectives.advantages import GroupAdvantages, estimate_advantages
from runners.objectives.reward_shaping import overlong_punishment
from runners.rllib.algorithm import TextAlgorithm
from runners.rllib.config import GRPOSettings
from runners.rllib.groups import groups_of
from runners.sampling.refills import StepSample
from runners.sampling.rollout import Rollout
from runners.sampling.summaries import group_summary, step_summary
from runners.settings import AdvantageSettings
from runners.updating.batch import build_train_batch, padded_columns


class GRPOConfig(GRPOSettings):
    """Configuration of `GRPO`; every setting is documented in docs/settings.md."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or GRPO)


class GRPO(TextAlgorithm):
    """Each iteration: draw problems, sample groups, compute advantages, update the policy, deliver the weights.

    Attributes:
        groups: Where a step's groups come from: sampled in the step, or ahead of it (`max_staleness`).
        trained_on: The rollouts of the last step.
        advantages: Theirs.
    """

    @classmethod
    def get_default_config(cls) -> GRPOConfig:
        """Returns the default configuration."""
        return GRPOConfig()

    def setup(self, config: GRPOSettings) -> None:
        """As `TextAlgorithm.setup`."""
        super().setup(config)
        self.groups = groups_of(self)

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Returns the state of `TextAlgorithm` and that of the groups that were sampled ahead."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        return {**state, "groups": self.groups.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from `get_state`."""
        super().set_state(state)
        if state.get("groups"):
            self.groups.set_state(state["groups"])

    def training_step(self) -> None:
        """One step of GRPO, on new problems."""
        started = time.perf_counter()
        sample = self.groups.next()
        self.log_episodes([*sample.rollouts, *sample.discarded])
        sampled = time.perf_counter()

        self.link.sleep()
        before = self.weight_check.before_update(sample.rollouts, self.policy_version)
        advantages = self.learn(sample.rollouts, self.iteration)
        updated = time.perf_counter()

        self.deliver_weights(before)
        self._log_step(sample, advantages, (started, sampled, updated, time.perf_counter()))

    def learn(self, rollouts: list[Rollout], iteration: int) -> GroupAdvantages:
        """Updates the policy on whole groups of rollouts; returns their advantages.

        Args:
            rollouts: [B].
            iteration: Steps before this one; with the seed it decides which groups share a minibatch.
        """
        self.trained_on = rollouts
        self.advantages = advantages = self._advantages(rollouts)
        rng = np.random.default_rng([self.config.seed or 0, iteration, 1])
        self.update(build_train_batch(rollouts, advantages, self.config.batch_plan(), rng))
        return advantages

    def _advantages(self, rollouts: list[Rollout]) -> GroupAdvantages:
        settings = self.config.noun(AdvantageSettings)
        rewards = np.array([r.reward for r in rollouts])
        if buffer := settings.overlong_buffer_tokens(self.config.max_tokens):
            turns = [overlong_punishment(np.array(r.turn_lengths), self.config.max_tokens, buffer) for r in rollouts]
            rewards += settings.overlong_penalty * np.array([punishments.sum() for punishments in turns])
        # With a critic the Updater takes the KL off the reward of each token.
        if self.config.kl_coeff and self.config.kl_placement == "reward" and not settings.use_critic:
            batch = {**padded_columns(rollouts), "rewards": rewards.astype(np.float32)}
            rewards = self.updaters.ask(methodcaller("rewards_less_kl", batch))
        group_ids = np.array([r.group_id for r in rollouts])
        return estimate_advantages(settings.advantage, rewards, group_ids)

    def _log_step(self, sample: StepSample, advantages: GroupAdvantages, times: tuple[float, ...]) -> None:
        started, sampled, updated, delivered = times
        summary = {**step_summary(sample), **group_summary(advantages)}
        tokens = summary["num_sampled_completion_tokens"]
        values = {
            **summary,
            "policy_version": self.policy_version,
            "sync_logprob_diff": self.sync_difference,
            "sample_s": sampled - started,
            "update_s": updated - sampled,
            "sync_s": delivered - updated,
            "tokens_per_s": tokens / (delivered - started),
            "sample_tokens_per_s": tokens / (sampled - started),
        }
        self.log_rollouts(values)
        self.metrics.log_value(("rollouts", "num_sampled_completion_tokens_lifetime"), tokens, reduce="lifetime_sum")


register_trainable("GRPO", GRPO)
