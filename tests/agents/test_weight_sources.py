"""Every source gives its weights as plain tensors, here and behind JSON; an agent that knows none of them takes all."""

from __future__ import annotations

import json
import tracemalloc
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch

import agents.weight_sources
from agents.base import SamplingParams
from agents.engine_agent import EngineAgent
from agents.scripted_agent import ScriptedAgent
from agents.text import TextAgent
from agents.transformers_agent import TransformersAgent
from agents.weight_group import LEARNER_RANK, GroupMember, WeightChannel
from agents.weight_loader import WeightLoader, load_weights
from agents.weight_sources import Arrays, Handles, RemoteSource, WeightsFile, WeightSource, from_json, to_json
from agents.weights import TensorSpec, weights_folder
from tests.agents.learner_side import Weights, broadcast_of, handles_of, new_group, specs_of

KINDS = ["arrays", "file", "handles", "broadcast"]
Made = Callable[[str, Weights], WeightSource]


@pytest.fixture
def made() -> Iterator[Made]:
    """Makes a source of a kind; a broadcast is sent as soon as somebody takes it."""
    with ExitStack() as stack:

        def source(kind: str, weights: Weights) -> WeightSource:
            match kind:
                case "arrays":
                    return Arrays.of(weights.items())
                case "file":
                    folder = stack.enter_context(weights_folder(list(weights.items())))
                    return WeightsFile(specs=specs_of(weights), folder=str(folder))
                case "handles":
                    return handles_of(weights)
            group, learner = new_group(timeout_s=30.0), GroupMember()
            stack.callback(learner.leave)
            sender = stack.enter_context(ThreadPoolExecutor(1))
            sender.submit(lambda: learner.channel(group, LEARNER_RANK).send(weights.values()))
            return broadcast_of(weights, group)

        yield source


def weights() -> dict[str, torch.Tensor]:
    return {
        "b": torch.tensor([[1.0, 2.0], [3.0, 4.0]]).t(),
        "a": torch.tensor([5.0, 6.0], dtype=torch.bfloat16, requires_grad=True),
    }


def read_only(array: np.ndarray) -> np.ndarray:
    """As an array comes out of Ray's object store."""
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("kind", KINDS)
def test_tensors(made: Made, kind: str) -> None:
    source = made(kind, weights())
    assert source.specs == (
        TensorSpec(name="b", dtype="float32", shape=(2, 2)),
        TensorSpec(name="a", dtype="bfloat16", shape=(2,)),
    )
    given = [(name, tensor.dtype, tensor.requires_grad, tensor.tolist()) for name, tensor in source.tensors()]
    assert given == [
        ("b", torch.float32, False, [[1.0, 3.0], [2.0, 4.0]]),
        ("a", torch.bfloat16, False, [5.0, 6.0]),
    ]


@pytest.mark.parametrize("kind", ["file", "handles", "broadcast"])
def test_json_and_back(made: Made, kind: str) -> None:
    source = made(kind, weights())
    assert isinstance(source, RemoteSource)
    sent = from_json(json.loads(json.dumps(to_json(source))))
    assert sent == source
    assert {name: tensor.tolist() for name, tensor in sent.tensors()} == {"b": [[1, 3], [2, 4]], "a": [5, 6]}


def test_each_worker_opens_its_own_handles() -> None:
    payloads = tuple(handles_of({"a": torch.full((1,), value)}).payloads[0] for value in (1.0, 2.0))
    source = Handles(specs=specs_of({"a": torch.zeros(1)}), payloads=payloads)
    assert [dict(source.tensors(worker))["a"].item() for worker in (1, 0)] == [2.0, 1.0]


def test_each_worker_has_its_own_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    joined = []

    class Member:
        def channel(self, group: object, rank: int) -> Any:
            joined.append(rank)
            return self

        def receive(self, specs: object) -> list[Any]:
            return []

    monkeypatch.setattr(agents.weight_sources, "_member", Member())
    for worker in (0, 1):
        assert list(broadcast_of({}, new_group(workers=2)).tensors(worker)) == []
    assert joined == [1, 2]


def test_a_second_broadcast_in_a_group_does_not_join_again_and_another_group_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    joined: list[str] = []

    class Channel(WeightChannel):
        def __init__(self, group: Any, rank: int) -> None:
            joined.append(group.name)
            super().__init__(group, rank)

    learner = GroupMember()
    first, second = (new_group(timeout_s=30.0) for _ in range(2))
    monkeypatch.setattr("agents.weight_group.WeightChannel", Channel)
    with ThreadPoolExecutor(1) as pool:
        for group, value in ((first, 1.0), (first, 2.0), (second, 3.0)):
            sent = {"a": torch.full((2,), value)}
            taken = pool.submit(lambda source: dict(source.tensors()), broadcast_of(sent, group))
            learner.channel(group, LEARNER_RANK).send(sent.values())
            assert torch.equal(taken.result()["a"], sent["a"])
    learner.leave()
    # Learner and engine.
    assert sorted(joined) == sorted([first.name] * 2 + [second.name] * 2)


class Plain:
    """A third party's agent, with the methods of `Agent` that weights need."""

    def update_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], policy_version: int) -> None:
        self.weights = {name: tensor.tolist() for name, tensor in named_tensors}
        self.policy_version = policy_version


class PlainText(TextAgent):
    """The same on the base class of the agents here."""

    def __init__(self) -> None:
        pass

    update_weights = Plain.update_weights  # type: ignore[assignment]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("agent_class", [Plain, PlainText])
def test_an_agent_with_update_weights_alone_takes_every_source(made: Made, kind: str, agent_class: type) -> None:
    agent = agent_class()
    load_weights(agent, made(kind, weights()), 3)
    assert agent.weights == {"b": [[1, 3], [2, 4]], "a": [5, 6]}
    assert agent.policy_version == 3
    assert isinstance(agent, WeightLoader) == (agent_class is PlainText)


@pytest.mark.parametrize("kind", KINDS)
def test_the_agents_here_take_every_source(made: Made, kind: str) -> None:
    agent = TransformersAgent("tiny", device="cpu", dtype="float32")
    doubled = {name: 2 * parameter.detach() for name, parameter in agent.model.named_parameters()}
    load_weights(agent, made(kind, doubled), 4)
    for name, parameter in agent.model.named_parameters():
        assert torch.equal(parameter.detach(), doubled[name]), name
    assert agent.policy_version == 4


def test_update_weights_takes_plain_tensors() -> None:
    agent = TransformersAgent("tiny", device="cpu", dtype="float32")
    doubled = {name: 2 * parameter.detach() for name, parameter in agent.model.named_parameters()}
    agent.update_weights(((name, tensor) for name, tensor in doubled.items()), 4)
    assert all(torch.equal(parameter.detach(), doubled[name]) for name, parameter in agent.model.named_parameters())
    assert agent.policy_version == 4


def test_arrays_are_given_without_a_copy_or_a_warning() -> None:
    array = read_only(np.arange(6, dtype=np.float32).reshape(2, 3))
    tensor = torch.ones(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given = dict(Arrays.of([("array", array), ("tensor", tensor)]).tensors())
    assert given["array"].data_ptr() == array.ctypes.data
    assert given["tensor"].data_ptr() == tensor.data_ptr()
    assert given["array"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_scripted_agent_keeps_a_copy() -> None:
    agent = ScriptedAgent()
    lent = torch.ones(2)
    agent.load_weights(Arrays.of([("a", lent)]), 1)
    lent.zero_()
    assert agent.weights["a"].tolist() == [1, 1]


class Backend:
    """Records what is sent to an engine, and what the memory of Python and NumPy rose to by then."""

    def load_weights(self, source: RemoteSource, policy_version: int) -> None:
        self.peak = tracemalloc.get_traced_memory()[1]
        self.kind = type(source)
        self.given = {name: tensor.clone() for name, tensor in source.tensors()}


class FileAgent(EngineAgent):
    _shapes = {"a": (512, 512), "b": (512, 512)}  # noqa: RUF012

    def __init__(self) -> None:
        self.backend: Any = Backend()

    def requests(self, prompt_token_ids: Any, params: SamplingParams) -> list[dict[str, Any]]:
        raise NotImplementedError


class Stored(WeightSource):
    """Of a class that `agents` does not know, as that of Ray's object store is."""

    def tensors(self, worker: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
        yield from (("a", torch.ones(512, 512)), ("b", torch.zeros(512, 512)))


def test_a_source_that_cannot_travel_on_becomes_a_file() -> None:
    agent = FileAgent()
    agent.load_weights(Stored(specs=specs_of(dict(Stored(specs=()).tensors()))), 5)
    assert agent.backend.kind is WeightsFile
    assert {name: tensor.unique().tolist() for name, tensor in agent.backend.given.items()} == {"a": [1], "b": [0]}


def test_the_file_is_the_only_copy_of_arrays_for_an_engine() -> None:
    arrays = {name: read_only(np.full((512, 512), value, np.float32)) for name, value in (("a", 1), ("b", 2))}
    agent = FileAgent()
    tracemalloc.start()
    try:
        agent.load_weights(Arrays.of(arrays.items()), 5)
    finally:
        tracemalloc.stop()
    assert agent.backend.kind is WeightsFile
    assert {name: tensor.unique().tolist() for name, tensor in agent.backend.given.items()} == {"a": [1], "b": [2]}
    # Both arrays are 2 MiB: not a tenth of one was copied in this process.
    assert agent.backend.peak < 100_000


def test_torch_copies_nothing_for_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {name: read_only(np.zeros((512, 512), np.float32)) for name in ("a", "b")}
    written: dict[str, int] = {}

    def save_file(tensors: dict[str, torch.Tensor], *arguments: Any, **options: Any) -> None:
        written.update({name: tensor.data_ptr() for name, tensor in tensors.items()})

    monkeypatch.setattr("agents.weights.save_file", save_file)
    with weights_folder(list(Arrays.of(arrays.items()).tensors())):
        assert written == {name: array.ctypes.data for name, array in arrays.items()}
