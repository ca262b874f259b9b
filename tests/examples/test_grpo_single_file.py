"""The single file against runners/ and agents/, which do the same by other code."""

import json
import shutil

import numpy as np
import pytest
import torch

import agents
from agents.models import resolve_model
from runners.objectives.advantages import ADVANTAGES
from runners.objectives.objective import ObjectiveConfig, ObjectiveInputs, policy_loss
from runners.objectives.reductions import sequence_loss_weights

QUESTIONS = ["What is 12 + 7?", "Ann has 3 boxes of 6 pens. She loses 4 pens. How many pens does Ann have?"]


@pytest.fixture(scope="module")
def example(load_example):
    return load_example("grpo_single_file")


@pytest.fixture(scope="module")
def policy(example):
    return example.load_policy("tiny")


def test_short_enough_to_read(count_lines):
    assert count_lines("grpo_single_file") < 250


@pytest.mark.slow
def test_trains(run_example, tmp_path):
    log, picture = tmp_path / "log.jsonl", tmp_path / "curve.png"
    sizes = ("--num-prompts", 2, "--group-size", 2, "--minibatch-size", 2, "--max-tokens", 8, "--eval-problems", 4)
    printed = run_example(
        "grpo_single_file", "--dataset", "builtin:1:64", "--steps", 2, *sizes, "--log", log, "--plot", picture
    )
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2] and len(printed.splitlines()) == 3
    # Evaluated before the first step and after the last.
    assert ["eval_accuracy" in row for row in rows] == [True, False, True]
    assert all(0 < row["completion_tokens_mean"] <= 8 for row in rows[1:])
    assert picture.stat().st_size > 0


def test_advantages_equal_the_runners(example):
    rewards = np.array([[1, 0, 0, 1], [0.25, 0.75, 1, 0.5], [1, 1, 1, 1], [0, 0, 0, 1]], np.float64)
    expected = ADVANTAGES["grpo"](rewards.flatten(), np.repeat(np.arange(4), 4)).advantages
    np.testing.assert_allclose(example.group_advantages(torch.tensor(rewards)).flatten(), expected, rtol=1e-12)


def test_loss_and_gradient_equal_the_runners(example):
    generator = torch.Generator().manual_seed(0)
    lengths = np.array([7, 1, 4, 7, 3, 6])
    loss_mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    logprobs = -torch.rand(6, 7, generator=generator, dtype=torch.float64)
    old_logprobs = logprobs + 0.4 * torch.randn(6, 7, generator=generator, dtype=torch.float64)
    advantages = torch.randn(6, generator=generator, dtype=torch.float64)

    ours = logprobs.clone().requires_grad_()
    loss = example.clipped_loss(ours, old_logprobs, advantages, loss_mask)
    loss.backward()
    theirs = logprobs.clone().requires_grad_()
    inputs = ObjectiveInputs(
        logprobs=theirs,
        entropies=torch.zeros_like(theirs),
        old_logprobs=old_logprobs,
        advantages=advantages,
        loss_mask=loss_mask,
        loss_weights=torch.tensor(sequence_loss_weights(lengths, lengths > 0, "token-mean")),
    )
    expected, stats = policy_loss(inputs, ObjectiveConfig(importance_cap=None))
    expected.backward()
    assert stats.clip_sum > 0  # or the clip would not have been compared
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_greedy_samples_equal_the_agents(example, policy):
    model, tokenizer = policy
    samples, texts = example.sample(model, tokenizer, QUESTIONS, temperature=0.0, max_tokens=48)
    agent = agents.make("transformers", model="tiny", dtype="float32", device=str(model.device))
    params = agents.SamplingParams(temperature=0.0, max_tokens=48)
    completions = [group[0] for group in agent.generate([agent.encode(text) for text in QUESTIONS], params)]
    assert texts == [completion.text for completion in completions]
    assert samples.loss_mask.sum(dim=1).tolist() == [len(completion.token_ids) for completion in completions]
    scored = example.logprobs(model, samples, temperature=1.0)
    for row, completion in enumerate(completions):
        own = scored[row][samples.loss_mask[row]]
        torch.testing.assert_close(own.detach().cpu(), torch.tensor(completion.logprobs), rtol=1e-4, atol=1e-5)


def test_temperature_divides_the_logits(example, policy):
    model, tokenizer = policy
    samples, _ = example.sample(model, tokenizer, QUESTIONS[:1], temperature=0.0, max_tokens=8)
    with torch.no_grad():
        logits = model(input_ids=samples.token_ids).logits[0, -samples.loss_mask.shape[1] - 1 : -1]
        expected = torch.log_softmax(logits / 0.5, dim=-1).max(dim=-1).values  # greedy: the likeliest was drawn
        torch.testing.assert_close(example.logprobs(model, samples, temperature=0.5)[0], expected)


def test_the_checkpoints_sampling_habits_are_dropped(example, policy, tmp_path):
    folder = shutil.copytree(resolve_model("tiny"), tmp_path / "model")
    settings = json.loads((folder / "generation_config.json").read_text())
    habits = {"repetition_penalty": 5.0, "do_sample": True, "temperature": 9.0, "eos_token_id": [3, 2]}
    (folder / "generation_config.json").write_text(json.dumps(settings | habits))
    model, tokenizer = example.load_policy(str(folder))
    assert model.generation_config.eos_token_id == [3, 2]
    _, expected = example.sample(*policy, QUESTIONS, temperature=0.0, max_tokens=24)
    assert example.sample(model, tokenizer, QUESTIONS, temperature=0.0, max_tokens=24)[1] == expected
