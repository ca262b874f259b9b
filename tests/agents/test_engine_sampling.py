"""`SamplingParams` in the engines' words: every field that shapes the distribution is said."""

from __future__ import annotations

from typing import Any

import pytest

from agents.base import SamplingParams
from agents.seeds import prompt_seeds
from agents.sglang_agent.sampling import requests as sglang_requests
from agents.singles import singles
from agents.vllm_agent.sampling import requests as vllm_requests

PROMPTS = [[1, 2, 3], [1] * 95]
LIMITS: dict[str, Any] = {"end_token_ids": (3, 2), "max_model_len": 100}


def test_vllm() -> None:
    params = SamplingParams(
        temperature=0.7, top_p=0.9, top_k=5, max_tokens=20, stop_token_ids=(9, 3), stop=("Q:",), seed=(7, 70)
    )
    first, second = vllm_requests(PROMPTS, params, **LIMITS)
    assert first == {
        "n": 1,
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
        "seed": 7,
        "logprobs": 0,
        "skip_special_tokens": False,
    }
    assert second["max_tokens"] == 5
    assert second["seed"] == 70


def test_vllm_takes_no_temperature_above_two() -> None:
    vllm_requests(PROMPTS, SamplingParams(temperature=2.0), **LIMITS)
    with pytest.raises(ValueError, match=r"temperature=2\.1, but vLLM takes at most 2\.0"):
        vllm_requests(PROMPTS, SamplingParams(temperature=2.1), **LIMITS)


def test_sglang() -> None:
    params = SamplingParams(temperature=0.7, max_tokens=20, stop_token_ids=(9,), seed=(7, 70))
    first, second = sglang_requests(PROMPTS, params, **LIMITS, seeds_requests=True)
    assert first == {
        "n": 1,
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
        "sampling_seed": 7,
        "skip_special_tokens": False,
    }
    assert second["max_new_tokens"] == 5
    assert second["sampling_seed"] == 70
    unseeded = sglang_requests(PROMPTS, params, **LIMITS, seeds_requests=False)
    assert [request["sampling_seed"] for request in unseeded] == [None, None]


@pytest.mark.parametrize("seed", [3, None])
def test_one_seed_of_a_call_becomes_one_for_each_prompt(seed: int | None) -> None:
    params = SamplingParams(seed=seed)
    of_vllm = [request["seed"] for request in vllm_requests(PROMPTS, params, **LIMITS)]
    sglang = sglang_requests(PROMPTS, params, **LIMITS, seeds_requests=True)
    assert of_vllm == [request["sampling_seed"] for request in sglang] == list(prompt_seeds(seed, 2))


@pytest.mark.parametrize("options", [{"top_k": 3}, {"top_p": 0.5}])
def test_sglang_refuses_what_it_has_no_logprobs_for(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="before top-k and top-p"):
        sglang_requests(PROMPTS, SamplingParams(**options), **LIMITS, seeds_requests=False)
    sglang_requests(PROMPTS, SamplingParams(temperature=0.0, **options), **LIMITS, seeds_requests=False)


def test_each_completion_is_a_call_of_its_own() -> None:
    prompts, params = singles([[1], [2, 3]], SamplingParams(n=3, seed=(7, 20), max_tokens=5))
    assert prompts == [[1], [1], [1], [2, 3], [2, 3], [2, 3]]
    assert params == SamplingParams(n=1, seed=(7, 8, 9, 20, 21, 22), max_tokens=5)
    _, params = singles([[1], [2]], SamplingParams(n=2, seed=5))
    first, second = prompt_seeds(5, 2)
    assert params.seed == (first, first + 1, second, second + 1)
    assert singles([[1]], SamplingParams(n=2))[1].seed is None


def test_seeds_differ_between_prompts_and_calls_and_fit_31_bits() -> None:
    assert prompt_seeds(None, 3) == (None, None, None)
    assert prompt_seeds((4, 4, 9), 3) == (4, 4, 9)
    seeds = {s for seed in (-1, 0, 1, 2**63) for s in prompt_seeds(seed, 50)}
    assert len(seeds) == 200
    # Half of the 31 bits that the engines take, so that the number of a completion can be added.
    assert all(seed is not None and 0 <= seed < 2**30 for seed in seeds)
