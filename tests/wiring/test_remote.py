"""What can go wrong only between processes. Slow: each test starts actors."""

import json
import time

import pytest

from tests.wiring.conftest import TRAINING, make_config
from tests.wiring.scripts import GRADED


@pytest.mark.slow
def test_rows_keep_what_is_theirs_on_two_learners(start):
    run = start({"minibatch_size": 8}, script=GRADED, num_learners=2)
    for _ in range(2):
        run.follow(run.step(), num_minibatches=2)


@pytest.mark.slow
def test_two_env_runners_do_not_draw_the_same(build, model_folder, tmp_path):
    record = tmp_path / "record.jsonl"
    config = make_config(model_folder, TRAINING, script={}, env={"alike": True}).env_runners(num_env_runners=2)
    build(config.agents(engine="noisy", engine_options={"record": str(record)})).train()
    calls = [json.loads(line) for line in record.read_text().splitlines()]
    assert len({call["process"] for call in calls}) == 2
    # Every prompt is the same: only the random numbers can tell completions apart.
    completions = {tuple(ids) for call in calls for group in call["groups"] for ids in group}
    assert len(completions) == 16


@pytest.mark.slow
def test_a_step_does_not_wait_for_an_env_runner_that_hangs(build, model_folder, tmp_path):
    seconds = 45
    config = make_config(model_folder, TRAINING, script=GRADED).env_runners(
        num_env_runners=2, sample_timeout_s=2, num_cpus_per_env_runner=1
    )
    options = {"seconds": seconds, "marker": str(tmp_path / "asleep")}
    config.agents(engine="sleepy", engine_options=options, sync_timeout_s=2)
    algo = build(config)
    started = time.monotonic()
    error = ""
    try:
        algo.train()
    except RuntimeError as raised:
        error = str(raised)
    assert time.monotonic() - started < seconds - 10, error
    # Another does the work, or the run ends with a word about it.
    assert not error or "env runner" in error or "engine" in error
