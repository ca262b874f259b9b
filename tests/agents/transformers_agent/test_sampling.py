"""Distributions and draws."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from agents.base import SamplingParams
from agents.models import resolve_model
from agents.transformers_agent import TransformersAgent
from agents.transformers_agent.sampling import draw, sampled_logprobs

# Probabilities 0.4, 0.3, 0.2, 0.1 at temperature 1, not in order.
LOGITS = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log()


def probabilities(**options: float) -> list[float]:
    return sampled_logprobs(LOGITS, SamplingParams(**options)).exp()[0].tolist()  # type: ignore[arg-type]


def test_temperature() -> None:
    assert probabilities() == pytest.approx([0.1, 0.4, 0.2, 0.3])
    squares = [0.01, 0.16, 0.04, 0.09]
    assert probabilities(temperature=0.5) == pytest.approx([square / sum(squares) for square in squares])


def test_greedy_reports_temperature_one() -> None:
    assert probabilities(temperature=0.0) == pytest.approx([0.1, 0.4, 0.2, 0.3])


def test_top_k_is_renormalised() -> None:
    assert probabilities(top_k=2) == pytest.approx([0.0, 4 / 7, 0.0, 3 / 7])
    assert probabilities(top_k=99) == pytest.approx([0.1, 0.4, 0.2, 0.3])


def test_top_p_keeps_the_token_that_reaches_the_mass() -> None:
    assert probabilities(top_p=0.5) == pytest.approx([0.0, 4 / 7, 0.0, 3 / 7])
    assert probabilities(top_p=0.05) == pytest.approx([0.0, 1.0, 0.0, 0.0])


def test_top_p_looks_at_what_top_k_left() -> None:
    # Of 0.4, 0.3, 0.2 the first two hold 7/9 > 0.75, where of the whole they hold 0.7 only.
    assert probabilities(top_k=3, top_p=0.75) == pytest.approx([0.0, 4 / 7, 0.0, 3 / 7])
    assert probabilities(top_p=0.75) == pytest.approx([0.0, 4 / 9, 2 / 9, 3 / 9])


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7}, {"top_k": 2}, {"top_p": 0.75}])
def test_frequencies_are_the_probabilities(options: dict[str, float]) -> None:
    params = SamplingParams(**options)  # type: ignore[arg-type]
    draws = 40_000
    logprobs = sampled_logprobs(LOGITS, params).expand(draws, -1)
    drawn = draw(logprobs, params, torch.Generator().manual_seed(0))
    for token, expected in enumerate(probabilities(**options)):
        deviation = math.sqrt(expected * (1 - expected) / draws)
        assert (drawn == token).float().mean().item() == pytest.approx(expected, abs=4 * deviation)


def test_greedy_draws_the_likeliest() -> None:
    params = SamplingParams(temperature=0.0)
    assert draw(sampled_logprobs(LOGITS, params), params, torch.Generator()).tolist() == [1]


def test_c4_a_checkpoints_generation_config_changes_nothing(tmp_path: Path) -> None:
    shutil.copytree(resolve_model("tiny"), tmp_path / "model")
    plain = TransformersAgent("tiny")
    greedy_by_default = {"do_sample": True, "temperature": 0.01, "top_k": 1, "repetition_penalty": 5.0}
    path = tmp_path / "model" / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | greedy_by_default))
    other = TransformersAgent(str(tmp_path / "model"))
    prompt = plain.encode("What is 2 + 3?")
    params = SamplingParams(n=4, max_tokens=16, seed=0)
    assert plain.generate([prompt], params) == other.generate([prompt], params)
