"""The cache gives what reading every sequence from its start gives, for one token a sequence."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from agents.models import resolve_model
from runners.token_module.language_model import last_states
from runners.token_module.prefix_cache import PrefixCache
from tests.runners.updating.families import FAMILIES, save_model

ROOM = 64


class Sequences:
    """Rows of tokens that grow; some begin anew, some leave, and their order changes."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.rows = [self.new() for _ in range(5)]

    def new(self) -> list[int]:
        return self.rng.integers(4, 512, size=self.rng.integers(1, 20)).tolist()

    def advance(self) -> None:
        grown = [[*row, int(self.rng.integers(4, 512))] for row in self.rows]
        self.rows = [self.new() if self.rng.random() < 0.15 else row for row in grown]
        self.rng.shuffle(self.rows)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        token_ids = np.full((len(self.rows), ROOM), 512, dtype=np.int32)
        for row, sequence in zip(token_ids, self.rows, strict=True):
            row[: len(sequence)] = sequence
        return token_ids, np.array(list(map(len, self.rows)))


def uncached(model: PreTrainedModel, token_ids: np.ndarray, lengths: np.ndarray) -> torch.Tensor:
    """One sequence at a time, by the model's own forward."""
    with torch.no_grad():
        return torch.stack(
            [
                model(input_ids=torch.as_tensor(row[:length], dtype=torch.long)[None], use_cache=False).logits[0, -1]
                for row, length in zip(token_ids, lengths, strict=True)
            ]
        )


@pytest.fixture(scope="module")
def tiny() -> PreTrainedModel:
    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(resolve_model("tiny")).eval()


@pytest.fixture
def computed(tiny: PreTrainedModel) -> Iterator[list[tuple[int, ...]]]:
    """The shapes of the tokens that the bundled model computes."""
    shapes: list[tuple[int, ...]] = []
    handle = tiny.get_input_embeddings().register_forward_hook(lambda _, inputs, __: shapes.append(inputs[0].shape))
    yield shapes
    handle.remove()


@pytest.mark.parametrize("family", ["bundled", *FAMILIES])
def test_cached_logits_are_those_of_each_sequence_alone(family: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    folder = resolve_model("tiny") if family == "bundled" else save_model(family, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    cache, sequences = PrefixCache(10_000), Sequences()
    if family == "RecurrentGemma":
        with pytest.raises(ValueError, match=r"keeps what it has read in itself.*cache_positions=0"):
            cache.logits(model, *sequences.arrays())
        return
    for _ in range(25):
        token_ids, lengths = sequences.arrays()
        expected = uncached(model, token_ids, lengths)
        torch.testing.assert_close(cache.logits(model, token_ids, lengths), expected, atol=1e-5, rtol=1e-5)
        if family != "Llama 4":  # it gives no hidden states
            with torch.no_grad():
                states, head = last_states(model, torch.as_tensor(token_ids), torch.as_tensor(lengths))
            torch.testing.assert_close(head(states), expected, atol=1e-5, rtol=1e-5)
        sequences.advance()


def test_a_sequence_that_grew_costs_one_token(tiny: PreTrainedModel, computed: list[tuple[int, ...]]) -> None:
    cache = PrefixCache(10_000)
    token_ids = np.arange(10, 70, dtype=np.int32).reshape(3, 20)
    cache.logits(tiny, token_ids, np.array([5, 12, 9]))
    cache.logits(tiny, token_ids, np.array([6, 13, 10]))
    cache.logits(tiny, token_ids[[2, 0]], np.array([11, 7]))  # the second row is forgotten
    cache.logits(tiny, token_ids, np.array([8, 14, 12]))
    cache.logits(tiny, token_ids, np.array([8, 14, 12]))  # the same again is no continuation
    assert computed == [(3, 12), (3, 1), (2, 1), (2, 1), (1, 14), (3, 14)]


def test_equal_sequences_stay_apart(tiny: PreTrainedModel, computed: list[tuple[int, ...]]) -> None:
    cache = PrefixCache(10_000)
    token_ids = np.tile(np.arange(10, 30, dtype=np.int32), (2, 1))
    cache.logits(tiny, token_ids, np.array([5, 5]))
    token_ids[1, 5] = 99
    for lengths in (np.array([6, 6]), np.array([7, 7])):
        torch.testing.assert_close(
            cache.logits(tiny, token_ids, lengths), uncached(tiny, token_ids, lengths), atol=1e-5, rtol=1e-5
        )
    assert computed[0] == (2, 5)
    assert computed[1] == computed[4] == (2, 1)


def test_holds_no_more_than_a_call_and_the_limit(tiny: PreTrainedModel) -> None:
    sequences = Sequences()
    cache = PrefixCache(10_000)
    for _ in range(40):
        cache.logits(tiny, *sequences.arrays())
        assert cache.positions <= 5 * (20 + 40)
        sequences.advance()
    token_ids = np.arange(10, 70, dtype=np.int32).reshape(3, 20)
    cache = PrefixCache(3 * 12)
    assert cache.logits(tiny, token_ids, np.array([5, 12, 9])) is not None
    assert cache.positions == 3 * 12
    assert cache.logits(tiny, token_ids, np.array([6, 13, 10])) is None
    assert cache.positions == 0


def test_padding_in_front_of_every_row_is_dropped(tiny: PreTrainedModel) -> None:
    cache = PrefixCache(10_000)
    long, short = np.arange(10, 60, dtype=np.int32), np.arange(100, 150, dtype=np.int32)
    cache.logits(tiny, np.stack([long, short]), np.array([40, 3]))
    assert cache.positions == 2 * 40
    cache.logits(tiny, short[None], np.array([4]))
    assert cache.positions == 4


def _optimizer_step(model: PreTrainedModel) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model(input_ids=torch.arange(10)[None]).logits.logsumexp(-1).sum().backward()
    optimizer.step()


def _loading(model: PreTrainedModel) -> None:
    model.load_state_dict(
        {name: tensor + 0.01 * torch.randn_like(tensor) for name, tensor in model.state_dict().items()}
    )


def _one_weight(model: PreTrainedModel) -> None:
    with torch.no_grad():
        model.get_decoder().layers[0].self_attn.v_proj.weight.mul_(3)


def _new_tensor(model: PreTrainedModel) -> None:
    layer = model.get_decoder().layers[0].self_attn.v_proj
    layer.weight = torch.nn.Parameter(layer.weight.detach() * 3)


@pytest.mark.parametrize("change", [_optimizer_step, _loading, _one_weight, _new_tensor])
def test_a_change_of_weights_empties_it(tiny: PreTrainedModel, change) -> None:
    model, cache = copy.deepcopy(tiny), PrefixCache(10_000)
    token_ids = np.arange(10, 70, dtype=np.int32).reshape(3, 20)
    before = cache.logits(model, token_ids, np.array([5, 12, 9]))
    change(model)
    lengths = np.array([6, 13, 10])
    after = cache.logits(model, token_ids, lengths)
    assert not torch.allclose(before, uncached(model, token_ids, np.array([5, 12, 9])), atol=1e-3)
    torch.testing.assert_close(after, uncached(model, token_ids, lengths), atol=1e-5, rtol=1e-5)


def test_what_an_error_left_is_not_found(tiny: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = PrefixCache(10_000)
    token_ids = np.arange(10, 70, dtype=np.int32).reshape(3, 20)
    cache.logits(tiny, token_ids, np.array([5, 12, 9]))
    with monkeypatch.context() as broken:
        broken.setattr(tiny.lm_head, "forward", lambda states: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cache.logits(tiny, token_ids, np.array([6, 13, 10]))
    again = cache.logits(tiny, token_ids, np.array([6, 13, 10]))
    torch.testing.assert_close(again, uncached(tiny, token_ids, np.array([6, 13, 10])), atol=1e-5, rtol=1e-5)


def test_copies_are_empty(tiny: PreTrainedModel) -> None:
    cache = PrefixCache(1_000)
    cache.logits(tiny, np.arange(10, 20, dtype=np.int32)[None], np.array([5]))
    for twin in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert twin.positions == 0
        assert twin.logits(tiny, np.zeros((1, 2000), dtype=np.int32), np.array([1001])) is None
    assert cache.positions == 5
