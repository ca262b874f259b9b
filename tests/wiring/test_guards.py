"""What must stop a run, or be said, and what the engine must have got."""

import json
import warnings

import pytest
import torch

from runners.rllib.grpo import GRPO
from tests.wiring.conftest import TRAINING, make_config
from tests.wiring.scripts import GRADED

MISMATCH = "Engine and learner logprobs differ by"


def test_an_engine_that_differs_from_the_learner_is_spoken_of(start):
    run = start(script=GRADED, noise=0.5)
    with pytest.warns(UserWarning, match=MISMATCH):
        run.step()


def test_an_engine_that_agrees_is_not(start):
    run = start(script=GRADED, noise=0.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        step = run.step()
    assert not [warning for warning in caught if MISMATCH in str(warning.message)]
    assert step.learner["rollout_logprob_diff_max"] < 1e-5


@pytest.mark.parametrize("lag", [1, -1])
def test_completions_of_other_weights_are_refused(start, lag):
    run = start(script=GRADED, lag=lag)
    with pytest.raises(RuntimeError, match=r"policy.version"):
        run.algo.train()


def test_the_agent_gets_the_weights_of_every_step(start):
    run = start(script=GRADED)
    weights = [run.reference.weights(), *(run.step().weights for _ in range(2))]
    versions = [update.policy_version for update in run.agent.updates]
    assert sorted(versions) == versions and set(versions) == {0, 1, 2}
    for update in run.agent.updates:
        expected = weights[update.policy_version]
        assert update.weights.keys() == expected.keys()
        assert all(torch.equal(update.weights[name], expected[name]) for name in expected)
    # Each step samples with those of the one before.
    assert {call.policy_version for call in run.agent.calls} == {0, 1}


def test_a_checkpoint_brings_back_policy_optimizer_and_problems(start, build, model_folder, tmp_path):
    run = start({"num_epochs": 2}, script=GRADED)
    run.follow(run.step(), num_epochs=2)
    run.algo.save_to_path(tmp_path / "checkpoint")
    other = make_config(model_folder, {**TRAINING, "num_epochs": 2}, script=GRADED)
    restored = build(other)
    restored.restore_from_path(tmp_path / "checkpoint")
    agent = type(run.agent).made[-1]
    assert agent.updates[-1].policy_version == 1
    run.algo, run.agent = restored, agent
    run.follow(run.step(), num_epochs=2)  # with the moments of the first step


def test_no_two_steps_draw_the_same(build, model_folder, tmp_path):
    """The weights stand still and all problems are one: only the random numbers can tell completions apart."""
    record = tmp_path / "record.jsonl"
    config = make_config(model_folder, TRAINING | {"lr": 0.0, "weight_decay": 0.0}, script={}, env={"alike": True})
    config.agents(engine="noisy", engine_options={"record": str(record)})
    algo: GRPO = build(config)
    for _ in range(2):
        algo.train()
    groups = [group for line in record.read_text().splitlines() for group in json.loads(line)["groups"]]
    assert [len(group) for group in groups] == [4] * 8
    completions = {tuple(ids) for group in groups for ids in group}
    assert len(completions) == 32
