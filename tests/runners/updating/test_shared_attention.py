"""Attention by parts is the attention under the mask, and its gradient too."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from agents.models import resolve_model
from runners.objectives.packing import attention_mask, pack
from runners.updating.shared_attention import SharedPrompts, shared_attention, use_shared_attention


def packed_rows():
    """Three prompts of unlike lengths with three, one and two completions of unlike lengths; the last fills no row."""
    rng = np.random.default_rng(0)
    prompts = [rng.integers(1, 50, size) for size in (5, 9, 1)]
    groups = [(0, 3), (0, 1), (0, 6), (1, 4), (2, 2), (2, 7)]
    lengths = np.array([len(prompts[group]) + size for group, size in groups])
    token_ids = np.zeros((len(groups), lengths.max()), dtype=np.int64)
    loss_mask = np.zeros(token_ids.shape, dtype=bool)
    for row, (group, size) in enumerate(groups):
        start = len(prompts[group])
        token_ids[row, :start] = prompts[group]
        token_ids[row, start : start + size] = rng.integers(1, 50, size)
        loss_mask[row, start : start + size] = True
    return pack(token_ids, loss_mask, lengths, 100)


@pytest.mark.parametrize("key_heads", [4, 2])
def test_outcome_and_gradient_are_those_under_the_mask(key_heads):
    packed = packed_rows()
    rows, length = packed.token_ids.shape
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(rows, 4, length, 8, generator=generator, requires_grad=True)
    key = torch.randn(rows, key_heads, length, 8, generator=generator, requires_grad=True)
    value = torch.randn(rows, key_heads, length, 8, generator=generator, requires_grad=True)
    weights = torch.randn(rows, length, 4, 8, generator=generator)
    layer = torch.nn.Module()
    layer.num_key_value_groups = 4 // key_heads
    mask = attention_mask(torch.as_tensor(packed.segments))
    full = torch.as_tensor(packed.segments) >= 0  # an empty place's outcome is anybody's guess
    found = []
    for shared in (None, SharedPrompts.of(packed, torch.device("cpu"))):
        outcome, _ = shared_attention(layer, query, key, value, mask, shared, scaling=0.3)
        gradients = torch.autograd.grad((outcome * weights)[full].sum(), (query, key, value))
        found.append((outcome[full], *gradients))
    for under_mask, by_parts in zip(*found, strict=True):
        torch.testing.assert_close(by_parts, under_mask)


def test_every_place_of_the_rows_has_an_outcome_of_its_own():
    packed = packed_rows()
    shared = SharedPrompts.of(packed, torch.device("cpu"))
    full = torch.as_tensor(packed.segments).flatten() >= 0
    places = shared.places[full]
    assert len(places.unique()) == int(full.sum())
    assert shared.prompt_tokens == 9
    # Completions of 1; of 2; of 3 and 4; of 6 and 7.
    assert [tuple(alike.queries.shape) for alike in shared.completions] == [(1, 1), (1, 2), (2, 4), (2, 7)]
    assert [tuple(alike.keys.shape) for alike in shared.completions] == [(1, 10), (1, 11), (2, 13), (2, 16)]


def test_the_models_layers_take_it():
    model = AutoModelForCausalLM.from_pretrained(resolve_model("tiny"))
    packed = packed_rows()
    ids, positions = torch.as_tensor(packed.token_ids), torch.as_tensor(packed.position_ids)
    mask = attention_mask(torch.as_tensor(packed.segments))
    arguments = {"input_ids": ids, "position_ids": positions, "use_cache": False}
    with torch.no_grad():
        expected = model(**arguments, attention_mask=mask).logits
        assert use_shared_attention(model)
        shared = SharedPrompts.of(packed, torch.device("cpu"))
        # A mask that shows nothing but the own token: who looked at it would be found out.
        blind = torch.eye(ids.shape[1], dtype=torch.bool).expand(len(ids), 1, -1, -1)
        found = model(**arguments, attention_mask=blind, shared_prompts=shared).logits
    full = torch.as_tensor(packed.segments) >= 0
    torch.testing.assert_close(found[full], expected[full], atol=1e-4, rtol=1e-4)
