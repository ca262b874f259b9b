"""PPO: the value head, its learner, and where its weights go."""

import math

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

import tests.runners.addition_env
import tests.runners.two_turn_env  # noqa: F401  (registers TwoTurn-v0)
from runners.comparing.records import TIMES
from runners.rllib.grpo import GRPO
from runners.run_folder.metrics import metrics_row
from runners.updating.batch import build_train_batch, padded_columns
from tests.runners.rllib.conftest import agent_of, sampled_groups, small_config, updater_of


def ppo_config(**training):
    return small_config(advantage="gae", **training)


def sampled(algo):
    """The rollouts of a step, and the columns that its update would get."""
    rollouts = sampled_groups(algo)
    columns = build_train_batch(
        rollouts, algo._advantages(rollouts), algo.config.batch_plan(), np.random.default_rng(0)
    )
    return rollouts, columns


def prepared(algo, columns):
    """The columns as tensors, with what the Updater adds to them before the first optimizer step."""
    return updater_of(algo)._prepared({name: torch.tensor(column) for name, column in columns.items()})


def test_the_first_update_is_on_policy_and_whitened_advantages_are_centred(build):
    algo = build(ppo_config())
    row = metrics_row(algo.train(), 1)
    assert row["ratio_max"] == 1.0 and row["clip_frac"] == 0.0 and row["approx_kl"] == 0.0
    # Ratios of 1 and token-mean weights: the policy's loss is minus the mean of the whitened advantages.
    assert row["loss"] == pytest.approx(0.0, abs=1e-6)


def test_a_new_head_knows_nothing_and_each_token_gets_the_return(build):
    algo = build(ppo_config(whiten_advantages=False))
    rollouts, columns = sampled(algo)
    batch = prepared(algo, columns)
    rewards = torch.as_tensor(columns["advantages"])
    assert sorted(rewards.tolist()) == sorted(r.reward for r in rollouts)
    expected = rewards[:, None].where(batch["loss_mask"], 0.0)
    assert torch.equal(batch["advantages"], expected) and torch.equal(batch["value_targets"], expected)


def test_own_tokens_of_all_turns_get_an_advantage_and_the_environments_none(build):
    config = small_config("tests.runners.two_turn_env:TwoTurn-v0", {}, advantage="gae", whiten_advantages=False)
    algo = build(config)
    rollouts, columns = sampled(algo)
    assert any(r.num_turns == 2 for r in rollouts)
    batch = prepared(algo, columns)
    expected = torch.as_tensor(columns["advantages"])[:, None].where(torch.as_tensor(columns["loss_mask"]), 0.0)
    assert torch.equal(batch["advantages"], expected)
    algo.train()


@pytest.mark.slow
def test_the_value_loss_falls_on_a_batch_that_stays(build):
    algo = build(ppo_config(lr=1e-6, vf_lr=3e-3))
    _, columns = sampled(algo)
    columns["advantages"] = np.linspace(0.0, 1.0, len(columns["advantages"]), dtype=np.float32)
    losses, explained = [], []
    for _ in range(25):
        statistics = updater_of(algo).update(columns)
        losses.append(statistics["vf_loss"])
        explained.append(statistics["vf_explained_var"])
    assert losses[-1] < losses[0] / 3
    assert explained[0] == pytest.approx(0.0, abs=1e-6) and explained[-1] > explained[0]


def test_the_kl_in_the_reward_is_taken_off_each_token(build):
    algo = build(ppo_config(kl_coeff=0.1, kl_placement="reward", kl_estimator="k1", whiten_advantages=False))
    with torch.no_grad():
        for parameter in updater_of(algo)._reference.parameters():
            parameter.mul_(1.05)
    rollouts, columns = sampled(algo)
    batch = prepared(algo, columns)
    # Undiscounted, what is left at the first own token is the sequence's reward less the KL of all its tokens.
    first = batch["loss_mask"].int().argmax(1, keepdim=True)
    ours = batch["value_targets"].gather(1, first)[:, 0]
    rewards = {"rewards": columns["advantages"].astype(np.float64)}
    names = padded_columns(rollouts)
    theirs = updater_of(algo).rewards_less_kl({name: columns[name] for name in names} | rewards)
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5, atol=1e-5)
    assert np.abs(theirs - columns["advantages"]).min() > 1e-4


def test_the_head_is_saved_but_neither_synced_nor_exported(build, tmp_path):
    from safetensors import safe_open

    algo = build(ppo_config())
    algo.train()
    state = algo.learner_group.get_state()["learner"]["rl_module"][DEFAULT_MODULE_ID]
    assert state["vf_head.weight"].any()
    agent = agent_of(algo)
    for name, parameter in agent.model.named_parameters():
        assert torch.equal(parameter.detach(), torch.as_tensor(state[name])), name
    algo.save_policy(tmp_path / "policy")
    with safe_open(tmp_path / "policy" / "model.safetensors", "pt") as file:
        assert set(file.keys()) == state.keys() - {"vf_head.weight", "vf_head.bias"}


@pytest.mark.slow
def test_resume_is_exact(build, tmp_path):
    def row(algo, step):
        return {name: value for name, value in metrics_row(algo.train(), step).items() if name not in TIMES}

    straight = build(ppo_config(minibatch_size=8, num_epochs=2))
    straight.train()
    straight.save_to_path(tmp_path / "checkpoint")
    expected = [row(straight, step) for step in (2, 3)]
    assert expected[0]["vf_loss"] > 0
    resumed = GRPO.from_checkpoint(tmp_path / "checkpoint")
    assert [row(resumed, step) for step in (2, 3)] == expected
    resumed.stop()


@pytest.mark.slow
@pytest.mark.parametrize("num_learners", [0, 2])
def test_another_environment_without_groups(build, num_learners):
    config = small_config(
        "tests.runners.addition_env:Addition-v0",
        {"digits": 1},
        advantage="gae",
        num_prompts=16,
        group_size=1,
        minibatch_size=8,
        num_epochs=2,
        max_tokens=8,
        lambda_=0.95,
        gamma=0.99,
        vf_clip_param=0.2,
    )
    algo = build(config.learners(num_learners=num_learners))
    rows = [metrics_row(algo.train(), step) for step in (1, 2, 3)]
    assert all(math.isfinite(row[name]) for row in rows for name in ("loss", "vf_loss", "vf_explained_var"))
    assert rows[-1]["policy_version"] == 3


def test_missing_rewards_train_neither_policy_nor_values(build):
    config = small_config(
        "tests.runners.addition_env:Addition-v0", {"reward": "missing"}, advantage="gae", max_tokens=8
    )
    algo = build(config)
    before = algo.learner_group.get_weights()[DEFAULT_MODULE_ID]
    row = metrics_row(algo.train(), 1)
    assert row["missing_rewards"] == 16 and row["vf_loss"] == 0.0
    after = algo.learner_group.get_weights()[DEFAULT_MODULE_ID]
    assert all(np.array_equal(before[name], after[name]) for name in before) and "vf_head.weight" in before


@pytest.mark.parametrize(
    "name, value", [("gamma", 1.1), ("lambda_", -0.1), ("vf_loss_coeff", -1.0), ("vf_clip_param", 0.0), ("vf_lr", -1.0)]
)
def test_settings_out_of_range_name_the_value(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}"):
        ppo_config(**{name: value}).validate()


def test_only_a_critic_does_without_groups():
    ppo_config(group_size=1).validate()
    with pytest.raises(ValueError, match="a group of one has no baseline"):
        small_config(group_size=1).validate()
