"""Environments that step in threads: the same step, and the setting arrives where they are stepped."""

import threading

import pytest

from tests.wiring.conftest import TRAINING, make_config

SCRIPT = {"": ["#### 1", "#### 2"]}


def test_steps_are_made_in_threads_and_change_nothing(build, model_folder):
    names, rewards = [], []
    for threads in (0, 3):
        seen = set()
        config = make_config(model_folder, {**TRAINING, "env_threads": threads}, script=SCRIPT)
        config.callbacks(on_episode_step=lambda seen=seen, **_: seen.add(threading.current_thread().name))
        result = build(config).train()
        names.append(seen)
        rewards.append({name: value for name, value in result["rollouts"].items() if name.startswith("reward")})
    assert names == [{"MainThread"}, {"env-step"}]
    assert rewards[0] == rewards[1]


def test_a_bound_needs_threads(model_folder):
    config = make_config(model_folder, {**TRAINING, "env_step_timeout_s": 1.0}, script=SCRIPT)
    with pytest.raises(ValueError, match=r"env_step_timeout_s=1\.0, but it must be None without env_threads"):
        config.validate()
