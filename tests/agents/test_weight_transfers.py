"""Weights by handles and by broadcast: each agent that takes them completes as after `update_weights`."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from agents.base import Agent, EngineError, SamplingParams
from agents.transformers_agent import TransformersAgent
from agents.weight_transfer import TensorSpec
from tests.agents.learner_side import broadcast, channel_to, hand_over, handles_of, specs_of

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
    if path not in getattr(agent, "weight_transfers", ()):
        pytest.skip(f"this agent does not take weights by {path!r}")
    if path == "collective" and torch.cuda.is_available():
        pytest.skip("an engine on a GPU wants NCCL and a learner on another GPU: see benchmarks/gpu_check.py")


@pytest.fixture
def changed() -> TransformersAgent:
    """Another copy of the model, to hold other weights."""
    return TransformersAgent("tiny", device="cpu", dtype="float32")


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


def test_a_group_serves_many_updates(agent: Agent, changed: TransformersAgent, prompts: Prompts) -> None:
    skip_without(agent, "collective")
    first = perturbed(changed, 2)
    with channel_to(agent, agent.expect_weights(specs_of(first))) as channel:  # type: ignore[attr-defined]
        for seed in (2, 3, 4):
            broadcast(channel, agent, perturbed(changed, seed), seed)
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
    for path in agent.weight_transfers:  # type: ignore[attr-defined]
        with pytest.raises(ValueError, match=r"nothing was changed: lm_head.extra: not a parameter"):
            if path == "ipc":
                agent.update_weights_from_handles(handles_of(weights), 7)  # type: ignore[attr-defined]
            else:
                agent.update_weights_from_group(specs_of(weights), 7)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="missing"):
        agent.expect_weights([TensorSpec(name="a", dtype="float32", shape=(1,))])  # type: ignore[attr-defined]
    assert agent.policy_version != 7
    assert ids(agent, prompts) == ids(reference, prompts)


@pytest.mark.owned_engine
def test_an_engine_killed_in_a_transfer_is_an_error_on_both_sides(
    agent: Agent, changed: TransformersAgent, prompts: Prompts
) -> None:
    skip_without(agent, "collective")
    weights = perturbed(changed, 6)
    began = time.monotonic()
    with channel_to(agent, timeout_s=20.0) as channel, ThreadPoolExecutor(1) as pool:
        taken = pool.submit(agent.update_weights_from_group, specs_of(weights), 1)  # type: ignore[attr-defined]
        # It waits for the second tensor.
        channel.send([next(iter(weights.values()))])
        threading.Timer(0.5, os.kill, [agent.backend.process.pid, signal.SIGKILL]).start()  # type: ignore[attr-defined]
        with pytest.raises(EngineError, match="SIGKILL"):
            taken.result()
        with pytest.raises(RuntimeError):
            for _ in range(100):
                channel.send(weights.values())
    assert time.monotonic() - began < 120
    agent.restart()
    with pytest.raises(EngineError, match="in no weight group"):
        agent.update_weights_from_group(specs_of(weights), 1)  # type: ignore[attr-defined]
    hand_over("collective", agent, weights, 2)
    assert ids(agent, prompts) == ids(changed, prompts)
