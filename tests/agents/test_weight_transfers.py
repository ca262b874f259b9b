"""Weights as arrays, by handles and by broadcast: each agent that takes them completes as after `update_weights`."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from agents.base import Agent, EngineError, SamplingParams
from agents.transformers_agent import TransformersAgent
from agents.weight_group import LEARNER_RANK, GroupMember
from agents.weight_loader import WeightLoader
from agents.weights import TensorSpec
from tests.agents.learner_side import broadcast, broadcast_of, hand_over, handles_of, new_group

pytestmark = [pytest.mark.weight_transfer, pytest.mark.real_engine, pytest.mark.timeout(600)]
GREEDY = SamplingParams(temperature=0.0, max_tokens=24)
Prompts = list[list[int]]


def perturbed(model: TransformersAgent, seed: int) -> dict[str, torch.Tensor]:
    """The bundled model's weights with noise, and the same in `model`."""
    generator = torch.Generator().manual_seed(seed)
    original = TransformersAgent("tiny", device="cpu", dtype="float32").model
    weights = {
        name: tensor.detach() + 0.03 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in original.named_parameters()
    }
    model.update_weights(weights.items(), 0)
    return weights


def ids(agent: Agent, prompts: Prompts) -> list[tuple[int, ...]]:
    return [group[0].token_ids for group in agent.generate(prompts[:8], GREEDY)]


def skip_without(agent: Agent, path: str) -> None:
    assert isinstance(agent, WeightLoader)
    if path not in agent.weight_transfers:
        pytest.skip(f"this agent does not take weights by {path!r}")
    if path == "collective" and torch.cuda.is_available():
        pytest.skip("an engine on a GPU wants NCCL and a learner on another GPU: see benchmarks/gpu_check.py")


@pytest.fixture
def changed() -> TransformersAgent:
    """Another copy of the model, to hold other weights."""
    return TransformersAgent("tiny", device="cpu", dtype="float32")


@pytest.fixture
def learner() -> Iterator[GroupMember]:
    """The learner's place in a group."""
    member = GroupMember()
    yield member
    member.leave()


@pytest.fixture(autouse=True)
def original_weights_afterwards(agent: Agent, reference: TransformersAgent) -> Iterator[None]:
    yield
    agent.update_weights(((name, p.detach()) for name, p in reference.model.named_parameters()), 0)


@pytest.mark.parametrize("path", ["object_store", "ipc", "collective"])
def test_the_next_completion_is_that_of_the_new_weights(
    agent: Agent, changed: TransformersAgent, prompts: Prompts, path: str
) -> None:
    if path != "object_store":
        skip_without(agent, path)
    before = ids(agent, prompts)
    for seed in (0, 1):
        weights = perturbed(changed, seed)
        hand_over(path, agent, weights, 10 + seed)
        after = agent.generate(prompts[:8], GREEDY)
        assert [group[0].token_ids for group in after] == ids(changed, prompts) != before
        assert {group[0].policy_version for group in after} == {10 + seed}


def test_a_group_serves_many_updates(
    agent: Agent, changed: TransformersAgent, prompts: Prompts, learner: GroupMember
) -> None:
    skip_without(agent, "collective")
    group = new_group(agent.num_workers())  # type: ignore[attr-defined]
    for seed in (2, 3, 4):
        broadcast(learner, group, agent, perturbed(changed, seed), seed)
        assert ids(agent, prompts) == ids(changed, prompts)


def test_the_engine_keeps_a_copy_of_its_own(agent: Agent, changed: TransformersAgent, prompts: Prompts) -> None:
    skip_without(agent, "ipc")
    weights = perturbed(changed, 5)
    hand_over("ipc", agent, weights, 1)
    for tensor in weights.values():
        tensor.zero_()
    assert ids(agent, prompts) == ids(changed, prompts)


def test_weights_that_do_not_fit_are_refused_before_they_travel(
    agent: Agent, reference: TransformersAgent, prompts: Prompts
) -> None:
    weights = {name: tensor.detach().clone() for name, tensor in reference.model.named_parameters()}
    weights["lm_head.extra"] = torch.zeros(3)
    # Nobody sends in the group: an engine that waited for it would fail otherwise.
    for source in (handles_of(weights), broadcast_of(weights, new_group(timeout_s=5.0))):
        with pytest.raises(ValueError, match=r"nothing was changed: lm_head.extra: not a parameter"):
            agent.load_weights(source, 7)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="missing"):
        agent.check_weights([TensorSpec(name="a", dtype="float32", shape=(1,))])  # type: ignore[attr-defined]
    assert agent.policy_version != 7
    assert ids(agent, prompts) == ids(reference, prompts)


@pytest.mark.slow
@pytest.mark.owned_engine
def test_an_engine_killed_in_a_transfer_is_an_error_on_both_sides(
    agent: Agent, changed: TransformersAgent, prompts: Prompts, learner: GroupMember
) -> None:
    skip_without(agent, "collective")
    weights = perturbed(changed, 6)
    began = time.monotonic()
    group = new_group(timeout_s=20.0)
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(agent.load_weights, broadcast_of(weights, group), 1)  # type: ignore[attr-defined]
        # It waits for the second tensor.
        channel = learner.channel(group, LEARNER_RANK)
        channel.send([next(iter(weights.values()))])
        threading.Timer(0.5, os.kill, [agent.backend.process.pid, signal.SIGKILL]).start()  # type: ignore[attr-defined]
        with pytest.raises(EngineError, match="SIGKILL"):
            taken.result()
        with pytest.raises(RuntimeError):
            for _ in range(100):
                channel.send(weights.values())
    assert time.monotonic() - began < 120
    agent.restart()
    # The new engine is in no group, and nobody lets it into the old one. SGLang itself has no bound on joining.
    agent.backend.process.timeout_s = 10.0  # type: ignore[attr-defined]
    with pytest.raises(EngineError, match=r"during 'load_weights'"):
        agent.load_weights(broadcast_of(weights, replace(group, timeout_s=3.0)), 1)  # type: ignore[attr-defined]
    assert agent.policy_version == 0
    agent.restart()
    hand_over("collective", agent, weights, 2)
    assert ids(agent, prompts) == ids(changed, prompts)
