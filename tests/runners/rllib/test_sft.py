"""Supervised fine-tuning against plain torch, and through the whole runner."""

import json
from operator import attrgetter

import gymnasium as gym
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from agents.models import resolve_model
from agents.text import encode_chat, load_tokenizer
from runners.rllib.sft import SFTConfig
from runners.run_folder.metrics import metrics_row
from runners.support.errors import UserError
from tests.runners.rllib.conftest import agent_of, updater_of, without_times

# So small that the shortest solutions alone fill it: some are left out.
MAX_TOKENS = 60


def sft_config(dataset="builtin:1-2:64", **training):
    """Four solutions a step; an epsilon that does not scale away what is wrong with the size of a gradient."""
    settings = {"num_prompts": 4, "max_tokens": MAX_TOKENS, "lr": 1e-2, "adam_epsilon": 0.1, "grad_clip": None}
    return (
        SFTConfig()
        .environment("gsm8k_env:GSM8K-v0", env_config={"dataset": dataset})
        .agents(num_threads=1)
        .training(**settings | training)
        .evaluation(evaluation_duration=4, evaluation_config={"env_config": {"split": "test"}})
        .debugging(seed=3, log_level="ERROR")
    )


def weights(algo):
    return {name: p.detach().clone() for name, p in updater_of(algo).scorer.model.named_parameters()}


def pairs(algo, count):
    """The next problems as (prompt, solution) of token ids, encoded here."""
    env = gym.make(algo.config.env, **algo.config.env_config)
    tokenizer = load_tokenizer(resolve_model("tiny"))
    state, found = algo.problems.get_state(), []
    while len(found) < count:
        (reset,) = algo.problems.draw(1)
        observation, info = env.reset(options=reset.options)
        solution = env.unwrapped.problems[info["index"]].solution
        ids = [*tokenizer(solution)["input_ids"], tokenizer.eos_token_id]
        if len(ids) <= MAX_TOKENS:
            found.append((encode_chat(tokenizer, observation), ids))
    drawn = algo.problems.drawn
    algo.problems.set_state(state)
    return found, drawn


def test_a_step_is_the_cross_entropy_of_plain_torch(build):
    algo = build(sft_config())
    examples, drawn = pairs(algo, 4)
    result = algo.train()

    model = AutoModelForCausalLM.from_pretrained(resolve_model("tiny"), dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.95), eps=0.1, weight_decay=0.0)
    losses = []
    for prompt, solution in examples:
        logits = model(torch.tensor([prompt + solution])).logits[0, len(prompt) - 1 : -1]
        losses.append(F.cross_entropy(logits, torch.tensor(solution), reduction="sum"))
    loss = sum(losses) / sum(len(solution) for _, solution in examples)
    loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    optimizer.step()

    row = metrics_row(result, 1)
    assert row["loss"] == pytest.approx(loss.item(), abs=1e-5)
    assert row["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(weights(algo)[name], parameter.detach(), rtol=0, atol=1e-6)
    assert algo.problems.drawn == drawn
    assert row["num_dropped_prompts"] == drawn - 4
    assert row["num_completion_tokens"] == sum(len(solution) for _, solution in examples)
    assert not {"reward_mean", "clip_frac", "rollout_logprob_diff_mean", "importance_weight_mean"} & row.keys()


def test_problems_that_come_twice_share_their_prompt_and_nothing_else_changes(build):
    """Two problems make a batch of eight: with share_prompts a prompt is scored once for its four solutions."""
    packed = build(sft_config("builtin:1:2", num_prompts=8))
    alone = build(sft_config("builtin:1:2", num_prompts=8, share_prompts=False, micro_batch_tokens=200))
    rows = [without_times(metrics_row(algo.train(), 1)) for algo in (packed, alone)]
    assert rows[0] == pytest.approx(rows[1], abs=1e-5)
    for name, parameter in weights(packed).items():
        torch.testing.assert_close(parameter, weights(alone)[name], rtol=0, atol=1e-5)


def test_engines_get_the_weights_when_they_are_evaluated(build):
    algo = build(sft_config())
    algo.train()
    algo.train()
    assert agent_of(algo).policy_version == 0
    results = algo.evaluate()
    assert agent_of(algo).policy_version == algo.updaters.ask(attrgetter("policy_version")) == 2
    assert results["greedy"]["num_problems"] == 4
    assert algo.sync_difference < 1e-5


def test_evaluation_samples_at_a_temperature_that_the_loss_does_not_have(build):
    cold, warm = build(sft_config(temperature=0.5)), build(sft_config())
    assert cold.train()["learners"]["default_policy"]["loss"] == warm.train()["learners"]["default_policy"]["loss"]
    cold.evaluate()  # compares the engine's log-probs with the learner's
    assert cold.sync_difference < 1e-5


def test_resume_goes_on_to_the_bit(build, tmp_path):
    algo = build(sft_config(lr=[[0, 1e-2], [12, 1e-3]]))
    algo.train()
    checkpoint = algo.save_to_path(tmp_path / "checkpoint")
    rows = [without_times(metrics_row(algo.train(), step)) for step in (2, 3)]
    again = build(sft_config(lr=[[0, 1e-2], [12, 1e-3]]))
    again.restore_from_path(checkpoint)
    assert [without_times(metrics_row(again.train(), step)) for step in (2, 3)] == rows
    for name, parameter in weights(algo).items():
        assert torch.equal(parameter, weights(again)[name]), name


def test_lora_trains_adapters_alone(build, tmp_path):
    algo = build(sft_config(adam_epsilon=1e-8).agents(lora_rank=4))
    before = weights(algo)
    losses = [metrics_row(algo.train(), step)["loss"] for step in range(1, 9)]
    after = weights(algo)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "lora_" in name}
    assert np.mean(losses[-2:]) < np.mean(losses[:2])
    algo.save_policy(tmp_path)
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["r"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"fully_shard": True, "micro_batch_tokens": 150}], ids=["whole", "sharded"])
def test_two_learners_make_the_step_of_one(build, settings):
    one, two = build(sft_config()), build(sft_config(**settings).learners(num_learners=2))
    rows = [[without_times(metrics_row(algo.train(), step)) for step in (1, 2)] for algo in (one, two)]
    for mine, other in zip(*rows, strict=True):
        assert mine == pytest.approx(other, rel=1e-5, abs=1e-6)
    ours, theirs = (algo.get_weights()["default_policy"] for algo in (one, two))
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "training, message",
    [
        ({"group_size": 8}, "group_size=8, but it must be left out: it means nothing to SFTConfig"),
        ({"kl_coeff": 0.1}, "kl_coeff=0.1"),
        ({"minibatch_size": 2}, "minibatch_size=2"),
        ({"num_epochs": 2}, "num_epochs=2"),
        ({"surrogate": "gspo"}, "surrogate='gspo'"),
        ({"algorithm": "dapo"}, "algorithm='dapo'"),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(training, message):
    with pytest.raises(ValueError, match=message):
        sft_config(**training).check()


def test_solutions_that_are_all_too_long_are_one_sentence(build):
    with pytest.raises(UserError, match="a solution longer than max_tokens=3: nothing is left to learn from"):
        build(sft_config(max_tokens=3)).train()
