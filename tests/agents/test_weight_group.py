"""A group of the learner and the engines, without either."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from agents.weight_group import WeightChannel, free_port
from agents.weight_transfer import WeightGroup
from tests.agents.learner_side import specs_of


def group(timeout_s: float, world_size: int) -> WeightGroup:
    return WeightGroup(
        address="127.0.0.1",
        port=free_port(),
        name="test",
        backend="gloo",
        world_size=world_size,
        first_rank=1,
        timeout_s=timeout_s,
    )


def test_every_member_receives_what_the_learner_sends() -> None:
    weights = {"a": torch.arange(6.0).reshape(2, 3).t(), "b": torch.ones(4, dtype=torch.bfloat16, requires_grad=True)}
    made = group(30.0, world_size=3)
    with ThreadPoolExecutor(3) as pool:
        learner, *engines = pool.map(lambda rank: WeightChannel(made, rank), range(3))
        received = [pool.submit(lambda e: dict(e.receive(specs_of(weights), "cpu")), engine) for engine in engines]
        learner.send(weights.values())
        for result in received:
            for name, tensor in result.result().items():
                assert torch.equal(tensor, weights[name].detach())
    for member in (learner, *engines):
        member.close()


def test_a_member_that_never_joins_is_an_error_within_the_bound() -> None:
    with pytest.raises(RuntimeError, match=r"(?i)timed out"):
        WeightChannel(group(2.0, world_size=2), 0)
