"""`SamplingParams` in the engines' words: every field that shapes the distribution is said."""

from __future__ import annotations

from typing import Any

import pytest

from agents.base import SamplingParams
from agents.engine_agent import prompt_seed
from agents.sglang_agent.sampling import requests as sglang_requests
from agents.sglang_agent.sampling import seeded_singles
from agents.vllm_agent.sampling import requests as vllm_requests

PROMPTS = [[1, 2, 3], [1] * 95]
LIMITS: dict[str, Any] = {"end_token_ids": (3, 2), "max_model_len": 100}


def test_vllm() -> None:
    params = SamplingParams(
        n=4, temperature=0.7, top_p=0.9, top_k=5, max_tokens=20, stop_token_ids=(9, 3), stop=("Q:",), seed=1
    )
    first, second = vllm_requests(PROMPTS, params, **LIMITS)
    assert first == {
        "n": 4,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 5,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "max_tokens": 20,
        "min_tokens": 0,
        "stop_token_ids": [2, 3, 9],
        "stop": ["Q:"],
        "ignore_eos": True,
        "seed": prompt_seed(1, 0),
        "logprobs": 0,
        "skip_special_tokens": False,
    }
    assert second["max_tokens"] == 5
    assert second["seed"] != first["seed"]


def test_vllm_takes_no_temperature_above_two() -> None:
    vllm_requests(PROMPTS, SamplingParams(temperature=2.0), **LIMITS)
    with pytest.raises(ValueError, match=r"temperature=2\.1, but vLLM takes at most 2\.0"):
        vllm_requests(PROMPTS, SamplingParams(temperature=2.1), **LIMITS)


def test_sglang() -> None:
    params = SamplingParams(n=4, temperature=0.7, max_tokens=20, stop_token_ids=(9,), seed=1)
    first, second = sglang_requests(PROMPTS, params, **LIMITS, seeds_requests=True)
    assert first == {
        "n": 4,
        "temperature": 0.7,
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "max_new_tokens": 20,
        "min_new_tokens": 0,
        "stop_token_ids": [2, 3, 9],
        "ignore_eos": False,
        "sampling_seed": prompt_seed(1, 0),
        "skip_special_tokens": False,
    }
    assert second["max_new_tokens"] == 5


@pytest.mark.parametrize("options", [{"top_k": 3}, {"top_p": 0.5}])
def test_sglang_refuses_what_it_has_no_logprobs_for(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="before top-k and top-p"):
        sglang_requests(PROMPTS, SamplingParams(**options), **LIMITS, seeds_requests=False)
    sglang_requests(PROMPTS, SamplingParams(temperature=0.0, **options), **LIMITS, seeds_requests=False)


def test_sglang_samples_with_seeds_are_requests_of_their_own() -> None:
    request = {"n": 3, "sampling_seed": 7}
    assert [single["sampling_seed"] for single in seeded_singles(request)] == [7, 8, 9]
    assert {single["n"] for single in seeded_singles(request)} == {1}
    assert seeded_singles({"n": 3, "sampling_seed": None}) == [{"n": 3, "sampling_seed": None}]


def test_seeds_differ_between_prompts_and_calls_and_fit_31_bits() -> None:
    assert prompt_seed(None, 3) is None
    seeds = {prompt_seed(seed, row) for seed in (-1, 0, 1, 2**63) for row in range(50)}
    assert len(seeds) == 200
    assert all(seed is not None and 0 <= seed < 2**31 for seed in seeds)
