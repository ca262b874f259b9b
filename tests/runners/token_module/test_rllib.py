"""RLlib's own algorithms take the module, train it and stop; APPO in tests/benchmarks/shipped_entries.py."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from runners.token_module.module import CausalLMModule
from tests.runners.token_module.conftest import TINY

OFTEN = {"min_time_s_per_iteration": 1}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def ray_of_this_module() -> Iterator[None]:
    torch.set_num_threads(1)
    ray.init(num_cpus=4, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


def small(config: AlgorithmConfig, **training: Any) -> AlgorithmConfig:
    env_config = {"dataset": "builtin:1:16", "tokenizer": TINY, "observation": "dict"}
    return (
        config.environment(
            "gsm8k_env:GSM8KTokens-v0", env_config=env_config | {"max_tokens": 16, "max_prompt_tokens": 150}
        )
        .env_runners(num_envs_per_env_runner=8, num_env_runners=0)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=CausalLMModule, model_config={"model": "tiny"}))
        .training(train_batch_size_per_learner=128, lr=1e-4, **training)
        .debugging(seed=0, log_level="ERROR")
    )


@pytest.mark.parametrize(
    "config",
    [
        small(PPOConfig(), minibatch_size=64, num_epochs=1, shuffle_batch_per_epoch=False),
        small(IMPALAConfig()).env_runners(num_env_runners=1, rollout_fragment_length=16).reporting(**OFTEN),
    ],
    ids=["PPO", "IMPALA"],
)
def test_trains_two_iterations_and_stops(config: AlgorithmConfig) -> None:
    algo = config.build_algo()
    try:
        before = weights(algo)
        results = trained_twice(algo)
        after = weights(algo)
    finally:
        algo.stop()
    assert all(np.isfinite(array).all() for array in after.values())
    for part in ("language_model.", "vf_head."):
        assert any(not np.array_equal(before[name], after[name]) for name in before if name.startswith(part))
    assert max(result["env_runners"].get("num_episodes_lifetime", 0) for result in results) > 0
    returns = [result["env_runners"].get("episode_return_mean", np.nan) for result in results]
    assert 0.0 <= np.nanmean(returns) <= 1.0


def trained_twice(algo: Algorithm) -> list[dict[str, Any]]:
    """Results up to the second in which the learner has trained: the asynchronous algorithms do not wait for it."""
    results, steps = [], [0.0]
    while len(steps) < 3:
        results.append(algo.train())
        learner = results[-1].get("learners", {}).get("default_policy", {})
        if (trained := learner.get("num_module_steps_trained_lifetime", 0.0)) > steps[-1]:
            steps.append(trained)
    return results


def weights(algo: Algorithm) -> dict[str, np.ndarray]:
    """The learner's."""
    return copy.deepcopy(algo.learner_group.get_weights()["default_policy"])


def test_the_example_of_the_docstring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [block] = re.findall(r"```python\n(.*?)```", inspect.getdoc(CausalLMModule) or "", re.DOTALL)
    small_block = block.replace("minibatch_size=1024", "minibatch_size=64, train_batch_size_per_learner=128")
    assert small_block != block
    names: dict[str, Any] = {}
    exec(compile(small_block, "CausalLMModule", "exec"), names)
    names["algo"].stop()
    assert (tmp_path / "policy" / "model.safetensors").is_file()
