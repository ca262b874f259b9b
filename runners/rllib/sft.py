"""Supervised fine-tuning as an RLlib algorithm: the configuration and the training step.

    config = SFTConfig().environment("gsm8k_env:GSM8K-v0", env_config={"dataset": "builtin:1-2"})
    algo = config.build_algo()
    algo.train()

The policy learns to write the environment's own solutions: cross-entropy on their tokens, the prompt's out of the loss.
"""

from __future__ import annotations

import time
from operator import attrgetter
from typing import Any

import numpy as np
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED, NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.tune import register_trainable

from agents.models import resolve_model
from agents.text import end_token_ids, load_tokenizer
from runners.objectives.advantages import GroupAdvantages
from runners.rllib.algorithm import TextAlgorithm
from runners.rllib.config import GRPOSettings
from runners.rllib.evaluation import all_too_long
from runners.rllib.learner import GRPOLearner
from runners.sampling.demonstrations import Demonstrations
from runners.sampling.rollout import Rollout
from runners.sampling.summaries import token_summary
from runners.settings import SUPERVISED_SETTINGS
from runners.updating.batch import build_train_batch
from runners.updating.supervised import SupervisedUpdater
from runners.updating.updater import Updater


class SFTConfig(GRPOSettings):
    """Configuration of `SFT`: those settings of docs/settings.md that mean something without rewards.

    A step is one optimizer step on `num_prompts` solutions. `temperature` is that of evaluation's samples.
    """

    training_settings = SUPERVISED_SETTINGS
    needs_solutions = True

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or SFT)
        self.group_size, self.advantage = 1, "reinforce"

    @property
    def scored_temperature(self) -> float:
        """1: the loss is that of the model's own distribution."""
        return 1.0

    def step_words(self) -> str:
        """Returns what a step is made of."""
        return f"{self.num_prompts} solutions"

    def get_default_learner_class(self) -> type:
        """Returns `SFTLearner`."""
        return SFTLearner


class SFTLearner(GRPOLearner):
    """A learner with a `SupervisedUpdater`."""

    def make_updater(self, *args: Any, **kwargs: Any) -> Updater:
        """Returns the Updater, of these arguments."""
        return SupervisedUpdater(*args, **kwargs)


class SFT(TextAlgorithm):
    """Each iteration: draw problems, take their solutions, update the policy on them. Nothing is sampled.

    Attributes:
        demonstrations: Takes problems to their solutions.
    """

    @classmethod
    def get_default_config(cls) -> SFTConfig:
        """Returns the default configuration."""
        return SFTConfig()

    def setup(self, config: GRPOSettings) -> None:
        """Builds what every text algorithm has, and the tokenizer of the solutions."""
        super().setup(config)
        folder = resolve_model(self.config.policy_model)
        tokenizer = load_tokenizer(folder, trust_remote_code=self.config.trust_remote_code)
        self.demonstrations = Demonstrations(
            self.env_runner_group.local_env_runner.environments,
            tokenizer,
            end_token_ids(folder, tokenizer),
            max_prompt_tokens=self.config.max_prompt_tokens,
            max_tokens=self.config.max_tokens,
        )

    def training_step(self) -> None:
        """One step of supervised fine-tuning, on new problems."""
        started = time.perf_counter()
        rollouts, num_dropped = self._next_solutions()
        ones = np.ones(len(rollouts))
        advantages = GroupAdvantages(
            advantages=ones, valid=ones.astype(bool), num_groups=len(rollouts), num_zero_variance_groups=0
        )
        rng = np.random.default_rng([self.config.seed or 0, self.iteration, 1])
        self.update(build_train_batch(rollouts, advantages, self.config.batch_plan(), rng))
        self._log_step(rollouts, num_dropped, time.perf_counter() - started)

    def evaluate(self, parallel_train_future: Any = None) -> dict[str, Any]:
        """Evaluates as `TextAlgorithm` does; the engines get the weights here, since no step needs them."""
        if self.policy_version != self.updaters.ask(attrgetter("policy_version")):
            self.deliver_weights()
        return super().evaluate(parallel_train_future)

    def _next_solutions(self) -> tuple[list[Rollout], int]:
        """Returns `num_prompts` solutions, and how many problems were too long for it."""
        rollouts: list[Rollout] = []
        num_dropped = 0
        while missing := self.config.num_prompts - len(rollouts):
            taken = self.demonstrations.take(self.problems.draw(missing))
            rollouts += taken.rollouts
            num_dropped += taken.num_dropped_prompts
            if self.problems.none_fits(num_dropped, self.config.num_prompts):
                raise all_too_long(self.config)
        return rollouts, num_dropped

    def _log_step(self, rollouts: list[Rollout], num_dropped: int, seconds: float) -> None:
        summary = token_summary(rollouts)
        values = {
            **summary,
            "num_dropped_prompts": float(num_dropped),
            "update_s": seconds,
            "tokens_per_s": summary["num_completion_tokens"] / seconds,
        }
        self.log_rollouts(values)
        # What schedules go by.
        for name, reduce in ((NUM_ENV_STEPS_SAMPLED, "sum"), (NUM_ENV_STEPS_SAMPLED_LIFETIME, "lifetime_sum")):
            self.metrics.log_value((ENV_RUNNER_RESULTS, name), len(rollouts), reduce=reduce)


register_trainable("SFT", SFT)
