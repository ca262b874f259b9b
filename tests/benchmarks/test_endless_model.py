"""Completions of the endless model fill max_tokens at temperature 1."""

from pathlib import Path

from _endless_model import endless_model

import agents
from agents import SamplingParams
from gsm8k_env.problems import load_problems
from gsm8k_env.prompts import render_prompt


def test_every_completion_has_max_tokens(tmp_path: Path) -> None:
    agent = agents.make("transformers", model=str(endless_model(tmp_path / "endless")))
    prompts = [agent.encode(render_prompt(problem.question)) for problem in load_problems("train", "builtin:1-2")[:4]]
    groups = agent.generate(prompts, SamplingParams(n=4, temperature=1.0, max_tokens=64, seed=0))
    assert [len(completion.token_ids) for group in groups for completion in group] == [64] * 16
