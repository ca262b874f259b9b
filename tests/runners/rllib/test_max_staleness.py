"""Sampling that goes on during the update, in RLlib's processes."""

import os
import signal
import time

import numpy as np
import pytest

from runners.rllib.grpo import GRPO
from runners.run_folder.metrics import metrics_row
from tests.runners.rllib.conftest import small_config


def stale_config(max_staleness=1, **training):
    return small_config(max_staleness=max_staleness, **training).env_runners(num_env_runners=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_staleness": 1}, "max_staleness=1, but it must be 0 without remote env runners"),
        (
            {"max_staleness": 1, "env_runners": 1, "importance_cap": None},
            "importance_cap=None, but it must be a number",
        ),
        (
            {"max_staleness": 1, "env_runners": 1, "dynamic_sampling": True},
            "dynamic_sampling=True, but it must be False",
        ),
        ({"in_flight": "continue"}, "in_flight='continue', but it must be \"finish\" without max_staleness"),
        ({"max_staleness": -2}, "max_staleness=-2, but it must be an int >= 0"),
    ],
)
def test_settings_that_do_not_go_together(settings, message):
    settings = dict(settings)
    config = small_config().env_runners(num_env_runners=settings.pop("env_runners", 0))
    with pytest.raises(ValueError, match=message):
        config.training(**settings).validate()


def test_what_is_open_keeps_its_adapter():
    config = small_config(max_staleness=1, in_flight="continue").env_runners(num_env_runners=1)
    with pytest.raises(
        ValueError, match='in_flight=\'continue\', but it must be "finish" with weight_transfer="adapter'
    ):
        config.agents(engine="vllm", lora_rank=4, weight_transfer="adapter").validate()


@pytest.mark.slow
def test_an_engine_that_does_not_stream_is_named(build):
    with pytest.raises(ValueError, match="max_staleness needs an engine that streams"):
        build(stale_config().agents(engine="scripted"))


@pytest.mark.slow
@pytest.mark.parametrize(("max_staleness", "in_flight"), [(1, "finish"), (2, "continue")])
def test_samples_are_as_stale_as_allowed_and_no_staler(build, max_staleness, in_flight):
    algo = build(stale_config(max_staleness, in_flight=in_flight))
    rows = []
    for step in range(1, 5):
        row = metrics_row(algo.train(), step)
        versions = np.concatenate([rollout.own_policy_versions() for rollout in algo.trained_on])
        stale = step - 1 - versions
        assert row["staleness_mean"] == pytest.approx(stale.mean()) and row["staleness_max"] == stale.max()
        assert [r.group_id for r in algo.trained_on] == [g for g in range(4 * step - 4, 4 * step) for _ in range(4)]
        rows.append(row)
    assert rows[0]["staleness_max"] == 0
    assert max(row["staleness_max"] for row in rows) == max_staleness
    assert [row["policy_version"] for row in rows] == [1, 2, 3, 4]
    assert all(row["grad_norm"] >= 0 for row in rows)
    if in_flight == "finish":
        assert all(rollout.policy_versions is None for rollout in algo.trained_on)


@pytest.mark.slow
def test_what_was_sampled_ahead_stands_in_the_checkpoint(build, tmp_path):
    algo = build(stale_config())
    algo.train()
    deadline = time.monotonic() + 60
    while not all(entry["sampled"] for entry in algo.groups.get_state()) and time.monotonic() < deadline:
        algo.groups.collect()
        time.sleep(0.1)
    waiting = [entry["sampled"].rollouts[0].completion_token_ids for entry in algo.groups.get_state()]
    algo.save_to_path(tmp_path / "checkpoint")
    straight = metrics_row(algo.train(), 2)
    again = GRPO.from_checkpoint(tmp_path / "checkpoint")
    resumed = metrics_row(again.train(), 2)
    again.stop()
    assert [r.completion_token_ids for r in again.trained_on[::4]] == waiting[:4]
    for name in ("loss", "grad_norm", "reward_mean", "staleness_max", "num_completion_tokens", "epoch"):
        assert resumed[name] == straight[name], name


@pytest.mark.slow
def test_a_killed_env_runner_loses_only_what_it_was_sampling(build):
    algo = build(stale_config())
    algo.train()
    (pid,) = algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
    os.kill(pid, signal.SIGKILL)
    rows = [metrics_row(algo.train(), step) for step in (2, 3)]
    assert [r.group_id for r in algo.trained_on] == [g for g in range(8, 12) for _ in range(4)]
    assert rows[-1]["num_env_runner_restarts"] == 1 and rows[-1]["policy_version"] == 3
    assert max(row["staleness_max"] for row in rows) <= 1
