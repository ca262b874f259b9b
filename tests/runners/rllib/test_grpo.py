import functools
import math
import time

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

import tests.runners.addition_env  # noqa: F401  (registers Addition-v0)
from agents.weight_sources import Arrays
from runners.rllib.workers import EnvRunners
from runners.run_folder.metrics import METRICS, metrics_row
from runners.updating.batch import build_train_batch
from tests.runners.rllib.conftest import agent_of, small_config, updater_of, without_times


def policy_weights(algo):
    return {name: array.copy() for name, array in algo.learner_group.get_weights()[DEFAULT_MODULE_ID].items()}


@pytest.mark.parametrize("advantage, absent", [("grpo", {"vf_loss", "vf_explained_var"}), ("gae", set())])
def test_a_step_changes_the_policy_and_reports_every_documented_metric(build, advantage, absent):
    algo = build(small_config(kl_coeff=1e-3, advantage=advantage))
    before = policy_weights(algo)
    result = algo.train()
    result["evaluation"] = algo.evaluate()
    row = metrics_row(result, 1)
    absent = absent | {"staleness_mean", "staleness_max", "engine_idle_s"}
    of_the_environment = {"info_num_steps", "eval_info_num_steps"}
    assert row.keys() == METRICS.keys() - absent | {"step"} | of_the_environment
    assert all(math.isfinite(value) for value in row.values()), row
    after = policy_weights(algo)
    assert any(not np.array_equal(before[name], after[name]) for name in before)
    assert row["policy_version"] == 1


def test_c18_first_update_is_on_policy(build):
    row = metrics_row(build(small_config()).train(), 1)
    assert row["ratio_max"] == 1.0
    assert row["clip_frac"] == 0.0
    assert row["approx_kl"] == 0.0


def test_c22_engine_and_learner_agree_before_the_first_update(build):
    row = metrics_row(build(small_config()).train(), 1)
    assert 0 < row["rollout_logprob_diff_mean"] < 1e-5
    assert row["rollout_logprob_diff_max"] < 1e-3


def test_c2_temperature_scales_the_learners_logits_too(build):
    row = metrics_row(build(small_config(temperature=0.7)).train(), 1)
    assert row["rollout_logprob_diff_mean"] < 1e-5


def test_c23_the_agent_has_the_learners_weights_after_a_step(build):
    algo = build(small_config())
    algo.train()
    agent = agent_of(algo)
    learner = policy_weights(algo)
    for name, parameter in agent.model.named_parameters():
        assert torch.equal(parameter.detach(), torch.as_tensor(learner[name])), name
    assert agent.policy_version == algo.policy_version == 1


def test_c23_an_engine_with_other_weights_stops_the_run(build):
    algo = build(small_config())
    agent = agent_of(algo)
    load = agent.load_weights
    agent.load_weights = lambda source, policy_version: load(
        Arrays.of((name, tensor * 1.5) for name, tensor in source.tensors()), policy_version
    )
    with pytest.raises(RuntimeError, match="engine 'transformers' and learner differ by"):
        algo.train()


@pytest.mark.parametrize("minibatch_size, num_epochs, steps", [(None, 1, 1), (8, 1, 2), (4, 2, 8)])
def test_optimizer_steps(build, minibatch_size, num_epochs, steps):
    algo = build(small_config(minibatch_size=minibatch_size, num_epochs=num_epochs))
    algo.train()
    (optimizer,) = updater_of(algo)._optimizers
    assert {int(state["step"]) for state in optimizer.state.values()} == {steps}


def _gradient(algo, columns):
    """The gradient of one full-batch update, read before AdamW hides its scale."""
    algo.updaters.tell(_fill_value_head)
    algo.update(columns)
    return algo.updaters.ask(
        lambda updater: [parameter.grad.clone().numpy() for parameter in updater.scorer.parameters()]
    )


def _fill_value_head(updater):
    """Gives a value head, if there is one, values that differ from token to token."""
    head = updater.scorer.vf_head
    if head is not None:
        with torch.no_grad():
            head.weight.copy_(torch.linspace(-0.1, 0.1, head.in_features)[None])


def _fixed_columns(num_learners, advantage):
    """The same sixteen sequences for every algorithm, ordered for `num_learners` shards."""
    from runners.objectives.advantages import ADVANTAGES
    from runners.sampling.rollout import Rollout

    rng = np.random.default_rng(0)

    def rollout(i, prompt, completion):
        return Rollout(
            group_id=i // 4,
            observation="",
            text="",
            prompt_token_ids=tuple(prompt),
            completion_token_ids=tuple(completion),
            completion_mask=np.ones(len(completion), dtype=np.bool_),
            turn_lengths=(len(completion),),
            rollout_logprobs=np.zeros(len(completion), dtype=np.float32),
            reward=float(rng.integers(0, 2)),
            correct=None,
            finish_reason="stop",
            policy_version=0,
        )

    rollouts = [
        rollout(i, rng.integers(4, 500, size=5 + i // 4), rng.integers(4, 500, size=int(rng.integers(1, 20))))
        for i in range(16)
    ]
    rewards, group_ids = np.array([r.reward for r in rollouts]), np.array([r.group_id for r in rollouts])
    advantages = ADVANTAGES.lookup(advantage)(rewards, group_ids)
    plan = small_config(importance_cap=None).learners(num_learners=num_learners).batch_plan()
    return build_train_batch(rollouts, advantages, plan, np.random.default_rng(1))


@pytest.mark.slow
@pytest.mark.parametrize(
    "advantage, splits",
    [("grpo", ((0, 1), (0, 64), (1, 64), (2, 16_384), (2, 64))), ("gae", ((0, 64), (2, 64)))],
)
def test_c16_the_gradient_does_not_depend_on_micro_batches_or_learners(build, advantage, splits):
    settings = {"advantage": advantage, "importance_cap": None, "grad_clip": None}
    if advantage == "gae":
        settings["lambda_"] = 0.9

    def gradient(num_learners, micro_batch_tokens):
        config = small_config(micro_batch_tokens=micro_batch_tokens, **settings)
        return _gradient(build(config.learners(num_learners=num_learners)), _fixed_columns(num_learners, advantage))

    expected = gradient(0, 16_384)
    scale = max(np.abs(g).max() for g in expected)
    assert scale > 0
    for num_learners, micro_batch_tokens in splits:
        for ours, theirs in zip(gradient(num_learners, micro_batch_tokens), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * scale)


@pytest.mark.slow
@pytest.mark.parametrize("num_env_runners, num_learners", [(1, 1), (2, 2)])
def test_distributed(build, num_env_runners, num_learners):
    algo = build(
        small_config(minibatch_size=8).env_runners(num_env_runners=num_env_runners).learners(num_learners=num_learners)
    )
    rows = [metrics_row(algo.train(), step) for step in (1, 2)]
    assert rows[1]["policy_version"] == 2
    assert rows[0]["rollout_logprob_diff_mean"] < 1e-5 and rows[1]["rollout_logprob_diff_mean"] < 1e-5
    assert algo.evaluate()["greedy"]["num_problems"] == 8


@pytest.mark.slow
def test_c24_a_killed_env_runner_is_restarted_and_the_step_repeated(build):
    algo = build(small_config().env_runners(num_env_runners=2))
    algo.train()
    calls = [functools.partial(_die_once, marker=algo.logdir + "/died")] * 2
    env_runners = EnvRunners(algo.env_runner_group, "", timeout_s=60)
    answers = env_runners.share_out(calls, restore=algo.restore_and_deliver)
    assert answers == [1, 1]  # both came from env runners with the current weights
    deadline = time.monotonic() + 120  # Ray takes its time to start the process anew; steps go on meanwhile
    while (row := metrics_row(algo.train(), 2))["num_env_runner_restarts"] == 0:
        assert time.monotonic() < deadline
    assert row["rollout_logprob_diff_mean"] < 1e-5
    assert algo.env_runner_group.num_healthy_remote_env_runners() == 2


def _die_once(env_runner, marker):
    """Kills its process the first time it runs anywhere; afterwards it tells the policy version."""
    import os
    import pathlib
    import signal

    try:
        pathlib.Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return env_runner.agent.policy_version
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_an_error_inside_an_env_runner_reaches_the_user(build):
    config = small_config("tests.runners.addition_env:Addition-v0", {"group_faithful": False})
    with pytest.raises(ValueError, match=r"pose \d different problems"):
        build(config.env_runners(num_env_runners=1)).train()


@pytest.mark.slow
def test_resume_is_exact(build, tmp_path):
    config = small_config(minibatch_size=8)
    straight = build(config.copy())
    rows = [without_times(metrics_row(straight.train(), step)) for step in range(1, 7)]

    first = build(config.copy())
    for step in (1, 2, 3):
        assert without_times(metrics_row(first.train(), step)) == rows[step - 1]
    first.save_to_path(tmp_path / "checkpoint")

    from runners.rllib.grpo import GRPO

    second = GRPO.from_checkpoint(tmp_path / "checkpoint")
    for step in (4, 5, 6):
        assert without_times(metrics_row(second.train(), step)) == rows[step - 1]
    second.stop()


class TestAnotherEnvironment:
    def config(self, **env_config):
        return small_config("tests.runners.addition_env:Addition-v0", env_config, max_tokens=8)

    def test_it_trains_unchanged(self, build):
        algo = build(self.config(digits=1))
        row = metrics_row(algo.train(), 1)
        assert "accuracy" not in row and row["epoch"] == 0.0
        assert algo.evaluate()["greedy"]["num_problems"] == 8

    def test_c11_a_group_that_is_not_reset_alike_is_an_error(self, build):
        with pytest.raises(ValueError, match=r"pose \d different problems"):
            build(self.config(group_faithful=False)).train()

    def test_c14_missing_rewards_do_not_count_as_wrong(self, build):
        algo = build(self.config(reward="missing"))
        before = policy_weights(algo)
        row = metrics_row(algo.train(), 1)
        assert row["missing_rewards"] == 16
        assert math.isnan(row["reward_mean"])
        after = policy_weights(algo)
        assert all(np.array_equal(before[name], after[name]) for name in before)


def test_c15_groups_without_spread_are_counted_and_change_nothing(build):
    # Its answer is always 0, never right, and certain, which no learner agrees to.
    algo = build(small_config().agents(engine="scripted", sync_check_bound=None))
    before = policy_weights(algo)
    row = metrics_row(algo.train(), 1)
    assert row["zero_variance_share"] == 1.0
    assert row["grad_norm"] == 0.0
    after = policy_weights(algo)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_long_prompts_are_dropped_and_replaced(build):
    algo = build(small_config(max_prompt_tokens=60))
    row = metrics_row(algo.train(), 1)
    assert row["num_dropped_prompts"] > 0
    assert row["prompt_tokens_mean"] <= 60


def test_only_long_prompts_is_an_error(build):
    with pytest.raises(ValueError, match="Every prompt is longer than max_prompt_tokens=5"):
        build(small_config(env_config={"dataset": "builtin:1:40"}, max_prompt_tokens=5)).train()


def test_non_finite_loss_stops_the_run_and_keeps_the_weights(build):
    algo = build(small_config(lr=1e-4))
    with torch.no_grad():
        updater_of(algo).scorer.model.lm_head.weight.mul_(float("inf"))
    with pytest.raises(FloatingPointError, match="The update broke down"):
        algo.train()


@pytest.mark.parametrize("kl_placement", ["loss", "reward"])
def test_kl_to_the_reference(build, kl_placement):
    algo = build(small_config(kl_coeff=0.1, kl_placement=kl_placement, lr=1e-3))
    first, second = (metrics_row(algo.train(), step) for step in (1, 2))
    assert abs(first["ref_kl"]) < 1e-6
    assert second["ref_kl"] > 1e-6


def test_no_reference_model_without_kl(build):
    assert updater_of(build(small_config()))._reference is None
    assert updater_of(build(small_config(kl_coeff=0.1)))._reference is not None


@pytest.mark.slow
def test_tune(tmp_path):
    from ray import tune

    config = small_config()
    results = tune.Tuner(
        "GRPO",
        param_space=config,
        run_config=tune.RunConfig(stop={"training_iteration": 1}, storage_path=str(tmp_path)),
    ).fit()
    assert results[0].error is None
    assert "episode_return_mean" in results[0].metrics["env_runners"]


def test_save_policy_loads_in_transformers(build, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    algo = build(small_config())
    algo.train()
    algo.save_policy(tmp_path / "policy")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    weights = policy_weights(algo)
    for name, parameter in model.named_parameters():
        assert np.array_equal(parameter.detach().numpy(), weights[name]), name
    assert AutoTokenizer.from_pretrained(tmp_path / "policy").chat_template
