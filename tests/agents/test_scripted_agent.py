"""The scripted agent answers from its function."""

from __future__ import annotations

import torch

from agents.base import SamplingParams
from agents.scripted_agent import ScriptedAgent


def test_the_script_sees_prompt_and_sample_number() -> None:
    agent = ScriptedAgent(script=lambda prompt, sample: f"{prompt.count('pens')}:{sample}")
    [[first, second]] = agent.generate([agent.encode("pens and pens")], SamplingParams(n=2))
    assert (first.text, second.text) == ("2:0", "2:1")
    assert first.finish_reason == "stop"
    assert set(first.logprobs) == {0.0}


def test_weights_are_kept_for_a_test_to_look_at() -> None:
    agent = ScriptedAgent()
    agent.update_weights([("a", torch.ones(2))], 4)
    assert agent.policy_version == 4
    assert torch.equal(agent.weights["a"], torch.ones(2))
