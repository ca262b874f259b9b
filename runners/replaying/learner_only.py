"""GRPO without engines and environments: what a step learns, from rollouts that are given."""

from __future__ import annotations

from pathlib import Path

from ray.rllib.core import COMPONENT_LEARNER_GROUP, DEFAULT_MODULE_ID

from runners.rllib.config import GRPOSettings
from runners.rllib.grpo import GRPO
from runners.rllib.rl_module import PLACEHOLDER_SPACE


class LearnerOnly(GRPO):
    """Has learners alone; `learn` and what it needs work, everything else of an algorithm does not."""

    def setup(self, config: GRPOSettings) -> None:
        """Builds the learners."""
        self.learner_group = config.build_learner_group(
            spaces={DEFAULT_MODULE_ID: (PLACEHOLDER_SPACE, PLACEHOLDER_SPACE)}
        )
        self.make_learner_calls()

    def restore_learners(self, checkpoint: Path, num_env_steps_sampled: int) -> None:
        """Takes the learners' state of a checkpoint, and the steps by which schedules go."""
        self._env_steps = num_env_steps_sampled
        self.learner_group.restore_from_path((checkpoint / COMPONENT_LEARNER_GROUP).resolve())

    @property
    def num_env_steps_sampled(self) -> int:
        """As it was in the run."""
        return self._env_steps

    def cleanup(self) -> None:
        """Stops the learners."""
        self.learner_group.shutdown()
