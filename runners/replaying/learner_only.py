"""GRPO without engines and environments: what a step learns, from rollouts that are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ray.rllib.core import COMPONENT_LEARNER_GROUP, DEFAULT_MODULE_ID

from runners.rllib.checkpoint import read_from
from runners.rllib.config import GRPOSettings
from runners.rllib.grpo import GRPO
from runners.rllib.rl_module import PLACEHOLDER_SPACE
from runners.run_folder.reading import read_run_config
from runners.sampling.rollout import Rollout
from runners.support.errors import UserError


def learner_settings(run: Path) -> dict[str, Any]:
    """Returns the settings of a run, without env runners and engines.

    Raises:
        UserError: If there is no run.
        ValueError: If its configuration cannot be read; the message names the file.
    """
    if not (run / "config.yaml").is_file():
        raise UserError(f"There is no run in {run} (no config.yaml).")
    settings = read_run_config(run)
    settings["resources"] = {**settings["resources"], "num_env_runners": 0, "num_gpus_per_env_runner": 0}
    settings["agents"] |= {"gpus_per_engine": None, "sleep_during_update": False}
    return settings


class LearnerOnly(GRPO):
    """Has learners alone; `learn` and what it needs work, everything else of an algorithm does not."""

    def setup(self, config: GRPOSettings) -> None:
        """Builds the learners."""
        self.learner_group = config.build_learner_group(
            spaces={DEFAULT_MODULE_ID: (PLACEHOLDER_SPACE, PLACEHOLDER_SPACE)}
        )
        self.make_learner_calls()

    def restore_learners(self, checkpoint: Path, num_env_steps_sampled: int) -> None:
        """Takes the learners' state of a checkpoint, and the steps by which schedules go.

        Raises:
            ValueError: If the state cannot be read.
        """
        self._env_steps = num_env_steps_sampled
        with read_from(checkpoint):
            self.learner_group.restore_from_path((checkpoint / COMPONENT_LEARNER_GROUP).resolve())

    def advantages_of(self, rollouts: Sequence[Rollout]) -> np.ndarray:
        """Returns [B] the advantages of rollouts; the learners must have the weights of before the update."""
        return self._advantages(list(rollouts)).advantages

    @property
    def num_env_steps_sampled(self) -> int:
        """As it was in the run."""
        return self._env_steps

    def cleanup(self) -> None:
        """Stops the learners."""
        self.learner_group.shutdown()
