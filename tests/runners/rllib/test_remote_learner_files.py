"""What is saved lies where the caller asked for it, though the learner works in another folder."""

import os
import resource
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

from agents.models import resolve_model
from agents.transformers_agent.agent import TransformersAgent
from tests.runners.rllib.conftest import small_config
from tests.runners.rllib.test_grpo import policy_weights


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The caller's working directory, and the learner's."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    monkeypatch.chdir(here)
    return here, there


def remote_learner(build, there):
    algo = build(small_config().learners(num_learners=1))
    algo.learner_group.foreach_learner(partial(_work_in, folder=str(there)))
    return algo


def _work_in(learner, *, folder):
    os.chdir(folder)


def _limit_files(learner, *, bytes_):
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, resource.RLIM_INFINITY))


@pytest.mark.slow
def test_policy_and_checkpoint_of_a_remote_learner(build, folders):
    here, there = folders
    algo = remote_learner(build, there)
    algo.train()
    algo.save_policy("policy")
    assert [path.name for path in here.iterdir()] == ["policy"]
    algo.save_to_path(Path("checkpoint"))
    assert list(there.iterdir()) == []

    model = AutoModelForCausalLM.from_pretrained(here / "policy")
    weights = policy_weights(algo)
    for name, parameter in model.named_parameters():
        assert np.array_equal(parameter.detach().numpy(), weights[name]), name
    assert TransformersAgent(str(here / "policy")).encode("1 + 1")

    fresh = remote_learner(build, there)
    fresh.restore_from_path(Path("checkpoint"))
    for name, array in policy_weights(fresh).items():
        assert np.array_equal(array, weights[name]), name


@pytest.mark.slow
def test_a_checkpoint_that_the_learner_cannot_write_is_an_error(build, folders):
    here, there = folders
    algo = remote_learner(build, there)
    algo.learner_group.foreach_learner(partial(_limit_files, bytes_=1_000_000))  # the weights take 2.6 MB
    with pytest.raises(OSError, match=rf"{here / 'checkpoint'} is not whole: the learners' state"):
        algo.save_to_path(here / "checkpoint")


def test_the_folder_is_the_one_transformers_would_write(build, tmp_path):
    algo = build(small_config(lr=0))
    algo.save_policy(tmp_path / "policy")
    source = resolve_model("tiny")
    AutoModelForCausalLM.from_pretrained(source, dtype="float32").save_pretrained(tmp_path / "expected")
    for path in (tmp_path / "expected").iterdir():
        assert (tmp_path / "policy" / path.name).read_bytes() == path.read_bytes(), path.name
    assert (tmp_path / "policy" / "tokenizer.json").exists()
