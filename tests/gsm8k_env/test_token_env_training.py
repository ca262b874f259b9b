"""Algorithms that know nothing of this project learn on GSM8KTokens-v0."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import FlattenObservations

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ray_of_this_module() -> Iterator[None]:
    torch.set_num_threads(1)
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_of_this_module")
@pytest.mark.parametrize(
    ("env_config", "env_runners"),
    [
        ({}, {}),
        ({"observation": "dict"}, {"env_to_module_connector": lambda env, spaces, device: FlattenObservations()}),
    ],
    ids=["flat", "dict"],
)
def test_stock_ppo_acts_and_trains(env_config: dict[str, Any], env_runners: dict[str, Any]) -> None:
    config = (
        PPOConfig()
        .environment(
            "gsm8k_env:GSM8KTokens-v0",
            env_config={"dataset": "builtin:1", "instruction": "none", "max_tokens": 4, **env_config},
        )
        .env_runners(num_env_runners=0, num_envs_per_env_runner=4, **env_runners)
        .training(train_batch_size_per_learner=64, minibatch_size=32, num_epochs=1)
        .debugging(seed=0, log_level="ERROR")
    )
    algo = config.build_algo()
    before = {name: tensor.clone() for name, tensor in algo.get_module().state_dict().items()}
    results = [algo.train()["env_runners"] for _ in range(2)]
    after = algo.get_module().state_dict()
    algo.stop()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(torch.isfinite(tensor).all() for tensor in after.values())
    for result in results:
        assert result["num_episodes"] > 0
        assert 0.0 <= result["episode_return_mean"] <= 1.0
        assert 1 <= result["episode_len_mean"] <= 4


@pytest.mark.slow
def test_a_single_file_ppo_learns() -> None:
    command = [sys.executable, str(ROOT / "examples" / "ppo_on_tokens.py"), "--updates", "16"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    returns = [float(value) for value in re.findall(r"mean_return (\S+)", done.stdout)]
    assert len(returns) == 16
    assert sum(returns[-4:]) > sum(returns[:4])
