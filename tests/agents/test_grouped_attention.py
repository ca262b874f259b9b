"""Attention without copies of keys and values is the library's attention."""

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.integrations.sdpa_attention import repeat_kv

from agents import SamplingParams
from agents.models import resolve_model
from agents.transformers_agent import TransformersAgent
from agents.transformers_agent import grouped_attention as module
from agents.transformers_agent.grouped_attention import grouped_attention, use_attention


@pytest.mark.parametrize("heads", [4, 2, 1])
@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("masked", [True, False])
def test_it_is_that_of_repeated_keys(heads, length, masked):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 4, length, 8, generator=generator)
    key, value = torch.randn(2, 2, heads, 5, 8, generator=generator)
    mask = torch.rand(2, 1, length, 5, generator=generator) > 0.4 if masked else None
    if masked:
        mask[..., 0] = True
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, repeat_kv(key, 4 // heads), repeat_kv(value, 4 // heads), attn_mask=mask, scale=0.3
    )
    torch.testing.assert_close(grouped_attention(query, key, value, mask, 0.3), expected.transpose(1, 2))


def test_the_agent_decodes_with_it(monkeypatch):
    calls = []
    monkeypatch.setattr(
        module, "grouped_attention", lambda *arguments: calls.append(arguments) or grouped_attention(*arguments)
    )
    agent = TransformersAgent("tiny")
    agent.generate([agent.encode("What is 1 + 2?")], SamplingParams(max_tokens=4, seed=0))
    layers = agent.model.config.num_hidden_layers
    assert len(calls) % layers == 0 and calls and all(query.shape[2] == 1 for query, *_ in calls)


def test_a_model_with_attention_of_its_own_keeps_it():
    model = AutoModelForCausalLM.from_pretrained(resolve_model("tiny"), attn_implementation="eager")
    assert not use_attention(model, "another", lambda *_, **__: None)
    assert model.config._attn_implementation == "eager"
