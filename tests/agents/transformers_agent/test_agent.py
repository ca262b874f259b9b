"""Batching: whatever stands beside a prompt in its batch, and however the work is split, the completion is the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM, LlamaConfig, LlavaConfig

from agents.base import SamplingParams
from agents.models import resolve_model
from agents.text import load_tokenizer
from agents.transformers_agent import TransformersAgent
from agents.transformers_agent.loading import choose_dtype, context_length, parameter_shapes

GREEDY = SamplingParams(temperature=0.0, max_tokens=24)


@pytest.fixture
def mixed(prompts: list[list[int]]) -> list[list[int]]:
    """Prompts of very different lengths."""
    return [prompts[0], prompts[1][-4:], prompts[2] * 2, prompts[3][:9]]


def test_padding_changes_nothing(reference: TransformersAgent, mixed: list[list[int]]) -> None:
    together = reference.generate(mixed, GREEDY)
    for prompt, [completion] in zip(mixed, together, strict=True):
        [[alone]] = reference.generate([prompt], GREEDY)
        assert alone.token_ids == completion.token_ids
        assert alone.logprobs == pytest.approx(completion.logprobs, abs=1e-5)


@pytest.mark.parametrize("max_batch_tokens", [1, 400, 3000])
def test_small_batches_give_the_same(mixed: list[list[int]], max_batch_tokens: int) -> None:
    small = TransformersAgent("tiny", device="cpu", dtype="float32", max_batch_tokens=max_batch_tokens)
    large = TransformersAgent("tiny", device="cpu", dtype="float32")
    for mine, [expected, *_] in zip(
        small.generate(mixed, replace(GREEDY, n=3)), large.generate(mixed, replace(GREEDY, n=3)), strict=True
    ):
        assert [completion.token_ids for completion in mine] == [expected.token_ids] * 3


@pytest.mark.parametrize("max_batch_tokens", [1, 400, 3000])
def test_small_batches_draw_the_same(
    reference: TransformersAgent, mixed: list[list[int]], max_batch_tokens: int
) -> None:
    # At 1 each completion is a batch of its own, at 400 some groups of five are split, at 3000 prompts are parted.
    small = TransformersAgent("tiny", device="cpu", dtype="float32", max_batch_tokens=max_batch_tokens)
    params = SamplingParams(n=5, max_tokens=16, seed=(3, 30, 300, 3000))
    drawn, expected = (
        [[completion.token_ids for completion in group] for group in agent.generate(mixed, params)]
        for agent in (small, reference)
    )
    assert drawn == expected
    assert all(len(set(group)) > 2 for group in expected)


def test_max_tokens_only_cuts(reference: TransformersAgent, prompts: list[list[int]]) -> None:
    long, short = (reference.generate(prompts[:8], SamplingParams(n=2, max_tokens=limit, seed=5)) for limit in (40, 7))
    for whole, cut in zip(long, short, strict=True):
        assert [completion.token_ids[:7] for completion in whole] == [completion.token_ids for completion in cut]


def test_batches_hold_every_row_once_within_the_limit(prompts: list[list[int]]) -> None:
    agent = TransformersAgent("tiny", device="cpu", dtype="float32", max_batch_tokens=2000)
    params = SamplingParams(n=4, max_tokens=50)
    drawn = dict.fromkeys(range(20), 0)
    for rows, batch in agent._batches(prompts[:20], params):
        longest = max(len(prompts[row]) for row in rows)
        assert len(rows) * batch.n * (longest + batch.max_tokens) <= 2000
        for row in rows:
            drawn[row] += batch.n
    assert set(drawn.values()) == {4}


def test_a_seed_covers_the_whole_call(reference: TransformersAgent, prompts: list[list[int]]) -> None:
    params = SamplingParams(n=2, max_tokens=16, seed=5)
    assert reference.generate(prompts[:4], params) == reference.generate(prompts[:4], params)


def test_shapes_need_no_weights(reference: TransformersAgent) -> None:
    shapes = parameter_shapes(reference.tokenizer.name_or_path)
    assert shapes == {name: tuple(parameter.shape) for name, parameter in reference.model.named_parameters()}
    assert "lm_head.weight" not in shapes


def test_dtypes() -> None:
    assert choose_dtype("auto", torch.device("cpu")) == torch.float32
    with pytest.raises(ValueError, match="dtype 'fp8' is unknown; allowed are 'auto', 'float32'"):
        choose_dtype("fp8", torch.device("cpu"))


def test_the_context_is_that_of_the_text_model(tmp_path: Path) -> None:
    LlavaConfig(text_config=LlamaConfig(max_position_embeddings=77)).save_pretrained(tmp_path)
    assert context_length(tmp_path) == 77


def test_a_model_that_states_no_context_asks_for_one(tmp_path: Path) -> None:
    BloomForCausalLM(BloomConfig(vocab_size=512, hidden_size=8, n_layer=1, n_head=1)).save_pretrained(tmp_path)
    load_tokenizer(resolve_model("tiny")).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"config.json of .* has no max_position_embeddings.*: pass max_model_len"):
        TransformersAgent(str(tmp_path), device="cpu")
    assert TransformersAgent(str(tmp_path), device="cpu", max_model_len=64).max_model_len == 64
