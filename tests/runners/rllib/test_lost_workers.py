"""A worker dies or hangs: an env runner comes back and the step is what it would have been; a learner ends the run.

Slow: each test starts processes and waits for Ray to start some anew.
"""

import os
import signal
import time
from pathlib import Path

import pytest

from agents.transformers_agent import TransformersAgent
from runners.rllib.workers import WorkerLost
from runners.run_folder.metrics import metrics_row
from tests.runners.rllib.conftest import small_config, without_times

pytestmark = pytest.mark.slow


class FailingAgent(TransformersAgent):
    """Fails once in the life of a marker file, in the way that `how` says, when it is asked for the n-th time.

    Args:
        model: A folder or a name.
        marker: Made when it fails.
        how: "kill", "hang", or "refuse" (killed, and never started again).
        at: The method that fails, "generate" or "load_weights".
        call: Which call of it.
    """

    def __init__(self, model: str, *, marker: str, how: str, at: str = "generate", call: int = 4) -> None:
        self.marker, self.how, self.at, self.left = Path(marker), how, at, call
        if how == "refuse" and self.marker.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        super().__init__(model)

    def generate(self, *arguments):
        self._fail("generate")
        return super().generate(*arguments)

    def load_weights(self, *arguments):
        self._fail("load_weights")
        return super().load_weights(*arguments)

    def _fail(self, method):
        self.left -= method == self.at
        if self.left or method != self.at or self.marker.exists():
            return
        self.marker.touch()
        if self.how == "hang":
            time.sleep(600)
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def failing(tmp_path):
    """Settings of an agent that fails once."""

    def make(**options):
        config = small_config().agents(
            engine="tests.runners.rllib.test_lost_workers:FailingAgent",
            engine_options={"marker": str(tmp_path / "failed"), **options},
            sync_timeout_s=20,
        )
        return config.env_runners(num_env_runners=1, sample_timeout_s=8)

    return make


@pytest.mark.parametrize(
    "options",
    [{"how": "kill"}, {"how": "kill", "at": "load_weights", "call": 2}, {"how": "hang"}],
    ids=["killed while sampling", "killed in a delivery", "hangs while sampling"],
)
def test_the_only_env_runner_comes_back_and_the_steps_are_the_same(build, failing, tmp_path, options):
    straight = build(small_config().env_runners(num_env_runners=1))
    expected = [without_times(metrics_row(straight.train(), step)) for step in (1, 2, 3)]
    algo = build(failing(**options))
    started = time.monotonic()
    rows = [metrics_row(algo.train(), step) for step in (1, 2, 3)]
    assert (tmp_path / "failed").exists()
    assert time.monotonic() - started < 90
    assert rows[-1]["num_env_runner_restarts"] == 1
    for row, wanted in zip(rows, expected, strict=True):
        assert without_times(row) == {**wanted, "num_env_runner_restarts": row["num_env_runner_restarts"]}


def test_an_env_runner_that_never_comes_back_ends_the_run(build, failing):
    algo = build(failing(how="refuse").fault_tolerance(env_runner_restore_timeout_s=5))
    started = time.monotonic()
    with pytest.raises(WorkerLost, match="No env runner came back within env_runner_restore_timeout_s=5"):
        for _ in range(3):
            algo.train()
    assert time.monotonic() - started < 90


@pytest.mark.parametrize("num_learners", [1, 2])
def test_a_killed_learner_ends_the_run(build, num_learners):
    algo = build(small_config(minibatch_size=8).learners(num_learners=num_learners))
    algo.train()
    victim = algo.learners.tell(_pid)[-1]
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(WorkerLost, match=f"Learner {num_learners - 1} is gone") as lost:
        algo.train()
    assert "\n" not in str(lost.value) and "actor_id" not in str(lost.value)
    # And the others are not asked for what they would wait for together.
    with pytest.raises(WorkerLost):
        algo.train()


def test_a_learner_that_is_killed_before_a_checkpoint_ends_the_run(build, tmp_path):
    algo = build(small_config().learners(num_learners=1))
    os.kill(algo.learners.ask(_pid), signal.SIGKILL)
    with pytest.raises(WorkerLost, match="A learner is gone"):
        algo.save_to_path(tmp_path / "checkpoint")


def test_a_learner_that_hangs_ends_the_run_within_its_bound(build):
    algo = build(small_config(update_timeout_s=6).learners(num_learners=1))
    algo.train()
    started = time.monotonic()
    with pytest.raises(WorkerLost, match=r"Learners \[0\] have died, or did not answer within 6 s"):
        algo.learners.tell(_hang)
    assert time.monotonic() - started < 12
    started = time.monotonic()
    algo.stop()
    assert time.monotonic() - started < 60  # Ray waits for the process to end by itself


def test_an_engine_that_cannot_be_started_says_why(build):
    config = small_config().agents(engine="transformers", engine_options={"colour": "red"})
    with pytest.raises(ValueError, match="has no option"):
        build(config.env_runners(num_env_runners=1))


def _pid(learner):
    return os.getpid()


def _hang(learner):
    time.sleep(600)
