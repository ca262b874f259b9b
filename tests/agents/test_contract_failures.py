"""Engines of ours that are killed or hang: an `EngineError` within the bound, and a restart that works."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

import agents
from agents.base import EngineError, SamplingParams
from agents.engine_agent import EngineAgent
from agents.transformers_agent import TransformersAgent
from tests.agents.processes import group_ends

pytestmark = [pytest.mark.owned_engine, pytest.mark.timeout(600)]
LONG = SamplingParams(n=4, max_tokens=600)
GREEDY = SamplingParams(temperature=0.0, max_tokens=16)


def interrupted_error(agent: EngineAgent, prompts: list[list[int]], interrupt: Callable[[int], None]) -> EngineError:
    """Generates, interrupts the engine's process in the middle of it, and returns what was raised."""
    timer = threading.Timer(1.0, interrupt, [agent.backend.process.pid])  # type: ignore[attr-defined]
    timer.start()
    with pytest.raises(EngineError) as caught:
        agent.generate(prompts, LONG)
    timer.join()
    return caught.value


def assert_restarts(agent: EngineAgent, reference: TransformersAgent, prompts: list[list[int]]) -> None:
    with pytest.raises(EngineError, match=r"restart\(\)"):
        agent.generate(prompts[:1], GREEDY)
    agent.restart()
    assert agent.policy_version == 0
    expected = reference.generate(prompts[:8], GREEDY)
    assert [group[0].token_ids for group in agent.generate(prompts[:8], GREEDY)] == [
        group[0].token_ids for group in expected
    ]


def test_killed(agent: EngineAgent, reference: TransformersAgent, prompts: list[list[int]]) -> None:
    pid = agent.backend.process.pid  # type: ignore[attr-defined]
    started = time.monotonic()
    error = interrupted_error(agent, prompts, lambda pid: os.kill(pid, signal.SIGKILL))
    print(f"\n{error}")
    assert time.monotonic() - started < 45
    assert "SIGKILL" in str(error)
    # What the engine had started is gone with it.
    assert group_ends(pid)
    assert_restarts(agent, reference, prompts)


def test_hung(
    agent: EngineAgent, reference: TransformersAgent, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent.backend.process, "timeout_s", 3.0)  # type: ignore[attr-defined]
    started = time.monotonic()
    error = interrupted_error(agent, prompts, lambda pid: os.killpg(pid, signal.SIGSTOP))
    print(f"\n{error}")
    assert time.monotonic() - started < 45
    assert "no progress for 3 s" in str(error)
    assert_restarts(agent, reference, prompts)


def test_options_the_engine_does_not_know(agent: EngineAgent) -> None:
    with pytest.raises(ValueError, match="attention_bckend"):
        agents.make(type(agent).__name__.removesuffix("Agent").lower(), attention_bckend="flashinfer")
