"""Completions that begin while others go on: on each engine, owned and as a server."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

import agents
from agents.base import Completion, SamplingParams, StreamingAgent
from agents.transformers_agent import TransformersAgent

pytestmark = [pytest.mark.real_engine, pytest.mark.timeout(600)]

# So hot that of sixteen some go on for long.
LONG = SamplingParams(n=16, temperature=2.0, max_tokens=300)


def poll_until(agent: StreamingAgent, enough: Callable[[dict[int, Completion]], bool]) -> dict[int, Completion]:
    """Polls until what has ended is enough."""
    ended: dict[int, Completion] = {}
    deadline = time.monotonic() + 300
    while not enough(ended):
        assert time.monotonic() < deadline
        ended |= agent.poll(0.05)
    return ended


def ids(completions: list[Completion]) -> list[tuple[int, ...]]:
    return [completion.token_ids for completion in completions]


def test_it_streams(agent: StreamingAgent) -> None:
    assert isinstance(agent, StreamingAgent)
    assert agent.poll() == {}


def test_one_that_begins_later_may_end_first(agent: StreamingAgent, prompts: list[list[int]]) -> None:
    [long] = agent.submit(prompts[:1], LONG)
    agent.poll()
    [[short]] = agent.submit(prompts[1:2], SamplingParams(max_tokens=1))
    ended = poll_until(agent, lambda ended: short in ended)
    assert set(long) - ended.keys(), "all of the long ones had ended"
    assert len(ended[short].token_ids) == 1
    ended |= poll_until(agent, lambda later: set(long) <= (ended | later).keys())
    assert ended.keys() == {*long, short}
    assert agent.poll() == {}


def test_a_poll_does_not_wait(agent: StreamingAgent, prompts: list[list[int]]) -> None:
    [numbers] = agent.submit(prompts[:1], LONG)
    ended = agent.poll()
    polls = []
    while len(ended) < len(numbers):
        began = time.monotonic()
        ended = {**ended, **agent.poll()}
        polls.append(time.monotonic() - began)
    # One token for each of sixteen at most, in an engine of this process.
    assert sorted(polls)[len(polls) // 2] < 0.1, sorted(polls)[-5:]


def test_generate_leaves_what_streams(agent: StreamingAgent, prompts: list[list[int]]) -> None:
    [numbers] = agent.submit(prompts[:1], LONG)
    assert len(agent.generate(prompts[1:3], SamplingParams(n=2, max_tokens=4))) == 2
    ended = poll_until(agent, lambda ended: len(ended) >= len(numbers))
    assert ended.keys() == set(numbers)


def test_greedy_copies(agent: StreamingAgent, prompts: list[list[int]]) -> None:
    params = SamplingParams(n=3, temperature=0.0, max_tokens=5)
    [numbers] = agent.submit(prompts[:1], params)
    ended = poll_until(agent, lambda ended: len(ended) == 3)
    assert [ended[number] for number in numbers] == agent.generate(prompts[:1], params)[0]


def test_what_is_sampled_does_not_depend_on_what_runs_beside_it(
    agent: StreamingAgent, engine_name: str, prompts: list[list[int]]
) -> None:
    if engine_name == "sglang":
        pytest.skip("SGLang takes no seeds without deterministic inference")
    params = SamplingParams(n=4, max_tokens=40, seed=tuple(range(0, 80, 10)))
    together = agent.generate(prompts[:8], params)
    numbers, ended = [], {}
    for i, prompt in enumerate(prompts[:8]):
        numbers += agent.submit([prompt], SamplingParams(n=4, max_tokens=40, seed=(10 * i,)))
        for _ in range(i):
            ended |= agent.poll()
    ended |= poll_until(agent, lambda later: len(ended) + len(later) == 32)
    assert [ids([ended[number] for number in group]) for group in numbers] == [ids(group) for group in together]
    for group, expected in zip(numbers, together, strict=True):
        for number, completion in zip(group, expected, strict=True):
            assert ended[number].logprobs == pytest.approx(completion.logprobs, abs=1e-4)
            assert ended[number].text == completion.text


def test_rows_join_within_the_positions_allowed(reference: TransformersAgent, prompts: list[list[int]]) -> None:
    """Eight rows of forty tokens at a time, with texts that end some."""
    room = max(map(len, prompts[:6])) + 40
    agent = agents.make("transformers", device="cpu", dtype="float32", max_batch_tokens=8 * room)
    params = SamplingParams(n=4, max_tokens=40, stop=("=",), seed=3)
    expected = agent.generate(prompts[:6], params)
    numbers = agent.submit(prompts[:6], params)
    ended: dict[int, Completion] = {}
    while len(ended) < 24:
        ended |= agent.poll()
        for stream in agent._streams.values():
            assert stream._running is None or stream._running.positions <= 9 * room
    assert [ids([ended[number] for number in group]) for group in numbers] == [ids(group) for group in expected]
