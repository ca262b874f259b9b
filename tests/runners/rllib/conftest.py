from collections.abc import Callable, Iterator
from typing import Any

import pytest
import ray
import torch

from agents import Agent
from runners.comparing.records import TIMES
from runners.rllib.grpo import GRPO, GRPOConfig
from runners.sampling.rollout import Rollout
from runners.updating.updater import Updater


@pytest.fixture(scope="package", autouse=True)
def ray_of_this_package() -> Iterator[None]:
    """Ray with room for every actor of a test, whatever the cores of the machine."""
    torch.set_num_threads(1)
    ray.init(num_cpus=8, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


BUILTIN = {"dataset": "builtin:1-2"}


def small_config(env: str = "gsm8k_env:GSM8K-v0", env_config: dict[str, Any] = BUILTIN, **training: Any) -> GRPOConfig:
    """Four groups of four short completions of the bundled model on built-in problems.

    With this seed the rewards of the first step's groups differ, so that it changes the policy.
    """
    settings = {"num_prompts": 4, "group_size": 4, "max_tokens": 24, "lr": 1e-4} | training
    return (
        GRPOConfig()
        .environment(env, env_config=env_config)
        .agents(num_threads=1)
        .training(**settings)
        .evaluation(
            evaluation_duration=8,
            evaluation_config={"env_config": {"split": "test"} if env_config is BUILTIN else {}},
        )
        .debugging(seed=3, log_level="ERROR")
    )


def agent_of(algo: GRPO) -> Agent:
    """The engine of an algorithm without remote env runners."""
    return algo.env_runner_group.local_env_runner.agent


def updater_of(algo: GRPO) -> Updater:
    """The Updater of an algorithm without remote learners."""
    (result,) = algo.learner_group.foreach_learner(lambda learner: learner.updater)
    return result.get()


def sampled_groups(algo: GRPO) -> list[Rollout]:
    """The rollouts of a step on the next problems."""
    problems = algo.problems.draw(algo.config.num_prompts)
    return algo.sample(problems, algo.config.sampling_params(), "train").rollouts


def without_times(row: dict[str, float]) -> dict[str, float]:
    """A row of metrics that another run can have too."""
    return {name: value for name, value in row.items() if name not in TIMES}


@pytest.fixture
def build(built: Callable[[GRPOConfig], GRPO]) -> Callable[[GRPOConfig], GRPO]:
    """As `built`: Ray is this package's."""
    return built
