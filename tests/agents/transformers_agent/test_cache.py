"""The sampling cache holds what transformers' own cache holds."""

from __future__ import annotations

import pytest
import torch
from transformers import DeepseekV32Config
from transformers.cache_utils import DynamicLayer

from agents.transformers_agent.cache import HybridLayer, SamplingCache, SamplingLayer


def states(positions: int, rows: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(rows, 3, positions, 4), torch.randn(rows, 3, positions, 4)


def test_updates_equal_those_of_the_dynamic_layer() -> None:
    ours, theirs = SamplingLayer(), DynamicLayer()
    assert ours.get_seq_length() == 0
    for positions in (5, 1, 1, 40, 1, 100):
        keys, values = states(positions)
        for mine, expected in zip(ours.update(keys, values), theirs.update(keys, values), strict=True):
            assert torch.equal(mine, expected)
        assert ours.get_seq_length() == theirs.get_seq_length()


def test_repeat_then_select() -> None:
    layer = SamplingLayer()
    keys, values = layer.update(*states(6))
    keys, values = keys.clone(), values.clone()
    layer.repeat(3, reserve=50)
    layer.select(torch.tensor([1, 4, 5]), first_position=2)
    expected = [tensor.repeat_interleave(3, dim=0)[[1, 4, 5], :, 2:] for tensor in (keys, values)]
    new = states(1, rows=3)
    for mine, old, added in zip(layer.update(*new), expected, new, strict=True):
        assert torch.equal(mine, torch.cat([old, added], dim=2))
    assert layer.get_seq_length() == 5


def test_states_are_repeated_and_selected_with_keys_and_values() -> None:
    layer = HybridLayer(number_of_states=1)
    keys, values = states(6)
    layer.update(keys, values)
    recurrent, conv = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    layer.update_recurrent_state(recurrent)
    layer.update_conv_state(conv)
    layer.repeat(3, reserve=50)
    layer.select(torch.tensor([1, 4, 5]), first_position=2)
    new = states(1, rows=3)
    for mine, old, added in zip(layer.update(*new), (keys, values), new, strict=True):
        assert torch.equal(mine, torch.cat([old.repeat_interleave(3, dim=0)[[1, 4, 5], :, 2:], added], dim=2))
    assert torch.equal(layer.recurrent_states[0], recurrent[[0, 1, 1]])
    assert torch.equal(layer.conv_states[0], conv[[0, 1, 1]])


def test_layers_of_an_unknown_kind_are_refused() -> None:
    config = DeepseekV32Config(num_hidden_layers=2)
    with pytest.raises(
        ValueError, match=r"cannot sample '' \(deepseek_v32\), .* \(indexed_attention\): use engine 'vllm'"
    ):
        SamplingCache(config)
