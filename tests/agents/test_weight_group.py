"""A group of the learner and the engines, without either."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from agents.weight_group import GroupMember, WeightChannel
from tests.agents.learner_side import new_group, specs_of


def test_every_member_receives_what_the_learner_sends() -> None:
    weights = {"a": torch.arange(6.0).reshape(2, 3).t(), "b": torch.ones(4, dtype=torch.bfloat16, requires_grad=True)}
    made = new_group(workers=2, timeout_s=30.0)
    with ThreadPoolExecutor(3) as pool:
        learner, *engines = pool.map(lambda rank: WeightChannel(made, rank), range(3))
        received = [pool.submit(lambda e: dict(e.receive(specs_of(weights))), engine) for engine in engines]
        learner.send(weights.values())
        for result in received:
            for name, tensor in result.result().items():
                assert torch.equal(tensor, weights[name].detach())
    for member in (learner, *engines):
        member.close()


def test_a_member_that_never_joins_is_an_error_within_the_bound() -> None:
    with pytest.raises(RuntimeError, match=r"(?i)timed out"):
        WeightChannel(new_group(timeout_s=2.0), 0)


def test_a_member_joins_a_group_once_and_leaves_it_for_another() -> None:
    first, second = new_group(timeout_s=30.0), new_group(timeout_s=30.0)
    learner, engine = GroupMember(), GroupMember()
    with ThreadPoolExecutor(2) as pool:

        def channels(group: object) -> tuple[WeightChannel, WeightChannel]:
            return tuple(pool.map(lambda member, rank: member.channel(group, rank), (learner, engine), range(2)))  # type: ignore[return-value]

        joined = channels(first)
        assert channels(first) == joined
        moved = channels(second)
        sent = pool.submit(moved[0].send, [torch.ones(3)])
        assert dict(moved[1].receive(specs_of({"a": torch.ones(3)})))["a"].tolist() == [1, 1, 1]
        sent.result()
    assert not set(moved) & set(joined)
    assert not any(channel._finalizer.alive for channel in joined)
    for member in (learner, engine):
        member.leave()
    assert not any(channel._finalizer.alive for channel in moved)
