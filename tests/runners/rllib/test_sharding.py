"""Learners that hold a part of the policy each do what learners that hold all of it do."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from transformers import AutoModelForCausalLM

import agents
from agents import registry
from runners.comparing.records import TIMES
from runners.run_folder.metrics import metrics_row
from runners.weights.paths import EnginePlace, choose_path
from runners.weights.sender import LearnerPlace
from tests.runners.rllib.conftest import small_config


def config(num_learners=2, **settings):
    # 150 tokens: the learners of one step have unlike numbers of micro-batches. 0.05: gradients are clipped.
    settings = {"fully_shard": True, "minibatch_size": 8, "micro_batch_tokens": 150, "grad_clip": 0.05} | settings
    return small_config(**settings).learners(num_learners=num_learners)


def steps(algo, numbers):
    rows = [metrics_row(algo.train(), number) for number in numbers]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def weights(algo):
    return algo.get_state()["learner_group"]["learner"]["rl_module"][DEFAULT_MODULE_ID]


def assert_close(ours, theirs, atol=5e-6):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=2e-5, atol=atol, err_msg=name)


def assert_same_rows(ours, theirs):
    for mine, other in zip(ours, theirs, strict=True):
        assert_close(mine, other, atol=1e-5)  # rollout_logprob_diff_max is all rounding


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{"kl_coeff": 0.1}, {"advantage": "gae", "kl_coeff": 0.1, "kl_placement": "reward", "num_epochs": 2}],
    ids=["grpo", "ppo"],
)
def test_steps_are_those_of_whole_learners(build, settings):
    sharded, whole = build(config(**settings)), build(config(fully_shard=False, **settings))
    assert_same_rows(steps(sharded, (1, 2, 3)), steps(whole, (1, 2, 3)))
    assert_close(weights(sharded), weights(whole))


@pytest.fixture(scope="module")
def trained(ray_of_this_package, tmp_path_factory):
    """What two sharded learners leave behind after two steps, and their next two."""
    folder = tmp_path_factory.mktemp("trained")
    algo = config().build_algo()
    steps(algo, (1, 2))
    left = SimpleNamespace(
        checkpoint=algo.save_to_path(folder / "checkpoint"),
        policy=folder / "policy",
        weights=weights(algo),
        elements=[result.get() for result in algo.learner_group.foreach_learner(held_elements)],
    )
    algo.save_policy(left.policy)
    left.rows = steps(algo, (3, 4))
    algo.stop()
    return left


def held_elements(learner):
    """Returns how many elements of weights and of moments a learner holds, and how many the model has."""
    parameters = list(learner.updater.scorer.model.parameters())
    [(_, optimizer)] = learner.get_optimizers_for_module(DEFAULT_MODULE_ID)
    own = sum(parameter.to_local().numel() for parameter in parameters)
    moments = sum(optimizer.state[parameter]["exp_avg"].to_local().numel() for parameter in parameters)
    return own, moments, sum(parameter.numel() for parameter in parameters)


@pytest.mark.slow
def test_each_learner_holds_its_part_of_weights_and_moments(trained):
    for own, moments, of_all in trained.elements:
        assert own == moments
        assert 0.4 * of_all < own < 0.6 * of_all
    assert sum(own for own, _, _ in trained.elements) == trained.elements[0][2]


@pytest.mark.slow
@pytest.mark.parametrize("then", [{}, {"fully_shard": False, "num_learners": 0}], ids=["sharded", "one whole"])
def test_a_checkpoint_goes_on_in_any_learners(build, trained, then):
    algo = build(config(**then))
    algo.restore_from_path(trained.checkpoint)
    assert_close(weights(algo), trained.weights)
    assert_same_rows(steps(algo, (3, 4)), trained.rows)


@pytest.mark.slow
def test_a_checkpoint_of_a_whole_learner_goes_on_sharded(build, tmp_path):
    straight = build(config(fully_shard=False, num_learners=0))
    steps(straight, (1,))
    straight.save_to_path(tmp_path / "checkpoint")
    sharded = build(config())
    sharded.restore_from_path(tmp_path / "checkpoint")
    assert_same_rows(steps(sharded, (2,)), steps(straight, (2,)))


@pytest.mark.slow
def test_the_saved_policy_is_whole(trained):
    model = AutoModelForCausalLM.from_pretrained(trained.policy, dtype=torch.float32)
    assert_close({name: parameter.detach().numpy() for name, parameter in model.named_parameters()}, trained.weights)
    assert agents.make("transformers", model=str(trained.policy)).encode("1 + 1")


@pytest.mark.slow
def test_weights_by_broadcast(build, monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    agents.register("owned", "tests.agents.owned_transformers:OwnedTransformersAgent")
    algo = build(config().agents(engine="owned", weight_transfer="collective", sync_check_bound=1e-5))
    rows = steps(algo, (1, 2))
    assert algo.link.path == "collective"
    assert [row["policy_version"] for row in rows] == [1, 2]


@pytest.mark.slow
def test_an_engine_that_dies_in_a_broadcast_is_restarted(build, monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "_registered", {})
    agents.register("owned", "tests.agents.owned_transformers:OwnedTransformersAgent")
    die_at = tmp_path / "die"
    settings = {"weight_transfer": "collective", "sync_timeout_s": 30.0, "sync_check_bound": 1e-5}
    algo = build(config().agents(engine="owned", engine_options={"die_at": str(die_at)}, **settings))
    die_at.touch()
    assert [row["policy_version"] for row in steps(algo, (1, 2))] == [1, 2]
    assert not die_at.exists()


@pytest.mark.parametrize("num_learners", [0, 1])
def test_one_learner_has_nothing_to_share(num_learners):
    with pytest.raises(ValueError, match="fully_shard=True, but it must be False with fewer than two learners"):
        config(num_learners=num_learners).build_algo()


def test_handles_are_refused():
    learner = LearnerPlace(node="a", address="10.0.0.1", gpu="0", sharded=True, specs=())
    engine = EnginePlace(node="a", gpus=("0",), remote=False, transfers=("ipc", "collective"), num_workers=1)
    with pytest.raises(ValueError, match=r"sharded learners hold a part of each weight.*Use 'collective'"):
        choose_path("ipc", learner, [engine], "vllm")
    assert choose_path("auto", learner, [engine], "vllm") == "object_store"
