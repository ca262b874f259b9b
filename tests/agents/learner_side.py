"""The learner's part of a weight transfer, for tests of agents alone."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch

from agents.tensor_handles import pack
from agents.weight_group import LEARNER_RANK, GroupMember, WeightGroup, free_port
from agents.weight_loader import load_weights
from agents.weight_sources import Arrays, Broadcast, Handles
from agents.weights import TensorSpec

Weights = Mapping[str, torch.Tensor]


def specs_of(weights: Weights) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec.of(name, tensor) for name, tensor in weights.items())


def handles_of(weights: Weights, workers: int = 1) -> Handles:
    return Handles(specs=specs_of(weights), payloads=tuple(pack(weights.items()) for _ in range(workers)))


def broadcast_of(weights: Weights, group: WeightGroup) -> Broadcast:
    return Broadcast(specs=specs_of(weights), group=replace(group, first_rank=LEARNER_RANK + 1))


def new_group(workers: int = 1, timeout_s: float = 60.0) -> WeightGroup:
    return WeightGroup(
        address="127.0.0.1",
        port=free_port(),
        name=f"test-{secrets.token_hex(4)}",
        backend="gloo",
        world_size=1 + workers,
        first_rank=LEARNER_RANK,
        timeout_s=timeout_s,
    )


def broadcast(learner: GroupMember, group: WeightGroup, agent: Any, weights: Weights, policy_version: int) -> None:
    """Sends the weights while the agent takes them."""
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(load_weights, agent, broadcast_of(weights, group), policy_version)
        learner.channel(group, LEARNER_RANK).send(weights.values())
        taken.result()


def hand_over(path: str, agent: Any, weights: Weights, policy_version: int) -> None:
    """Updates an agent's weights by one path."""
    if path == "object_store":
        agent.load_weights(
            Arrays.of((name, tensor.detach().numpy()) for name, tensor in weights.items()), policy_version
        )
    elif path == "ipc":
        agent.load_weights(handles_of(weights, agent.num_workers()), policy_version)
    else:
        learner = GroupMember()
        try:
            broadcast(learner, new_group(agent.num_workers()), agent, weights, policy_version)
        finally:
            learner.leave()
