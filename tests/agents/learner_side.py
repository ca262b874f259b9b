"""The learner's part of a weight transfer, for tests of agents alone."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from agents.tensor_handles import pack
from agents.weight_group import WeightChannel, free_port
from agents.weight_transfer import TensorSpec, WeightGroup, WeightHandles

Weights = Mapping[str, torch.Tensor]


def specs_of(weights: Weights) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=name, dtype=str(tensor.dtype).removeprefix("torch."), shape=tuple(tensor.shape))
        for name, tensor in weights.items()
    )


def handles_of(weights: Weights, workers: int = 1) -> WeightHandles:
    payloads = tuple(pack(weights.items()) for _ in range(workers))
    return WeightHandles(specs=specs_of(weights), payloads=payloads)


@contextmanager
def channel_to(agent: Any, workers: int = 1, timeout_s: float = 60.0) -> Iterator[WeightChannel]:
    """Joins a new group with the agent's engine."""
    group = WeightGroup(
        address="127.0.0.1",
        port=free_port(),
        name=f"test-{secrets.token_hex(4)}",
        backend="gloo",
        world_size=1 + workers,
        first_rank=1,
        timeout_s=timeout_s,
    )
    with ThreadPoolExecutor(1) as pool:
        joined = pool.submit(agent.join_weight_group, group)
        channel = WeightChannel(group, 0)
        joined.result()
    try:
        yield channel
    finally:
        channel.close()


def broadcast(channel: WeightChannel, agent: Any, weights: Weights, policy_version: int) -> None:
    """Sends the weights while the agent takes them."""
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(agent.update_weights_from_group, specs_of(weights), policy_version)
        channel.send(weights.values())
        taken.result()


def hand_over(path: str, agent: Any, weights: Weights, policy_version: int) -> None:
    """Updates an agent's weights by one path."""
    if path == "object_store":
        agent.update_weights(weights.items(), policy_version)
    elif path == "ipc":
        workers = agent.expect_weights(specs_of(weights))
        agent.update_weights_from_handles(handles_of(weights, workers), policy_version)
    else:
        with channel_to(agent, agent.expect_weights(specs_of(weights))) as channel:
            broadcast(channel, agent, weights, policy_version)
