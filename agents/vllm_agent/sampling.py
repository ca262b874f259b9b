"""`agents.SamplingParams` in vLLM's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.base import SamplingParams
from agents.seeds import prompt_seeds

MAX_TEMPERATURE = 2.0


def requests(
    prompt_token_ids: Sequence[Sequence[int]],
    params: SamplingParams,
    *,
    end_token_ids: Sequence[int],
    max_model_len: int,
) -> list[dict[str, Any]]:
    """Returns a request for one completion of each prompt, in fields that `vllm.SamplingParams` and its server know.

    Every field that shapes the distribution is set, so that no default of the checkpoint's generation_config.json
    applies. `ignore_eos` with explicit stop ids makes the ids given here the only ends. logprobs=0 returns the drawn
    token's alone.

    Raises:
        ValueError: For a temperature above 2, the most that vLLM takes.
    """
    if params.temperature > MAX_TEMPERATURE:
        raise ValueError(
            f"temperature={params.temperature}, but vLLM takes at most {MAX_TEMPERATURE}: lower it, or use another "
            "engine."
        )
    stops = sorted({*end_token_ids, *params.stop_token_ids})
    seeds = prompt_seeds(params.seed, len(prompt_token_ids))
    return [
        {
            "n": 1,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "top_k": params.top_k,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "max_tokens": min(params.max_tokens, max_model_len - len(prompt)),
            "min_tokens": 0,
            "stop_token_ids": stops,
            "stop": list(params.stop),
            "ignore_eos": True,
            "seed": seed,
            "logprobs": 0,
            "skip_special_tokens": False,
        }
        for prompt, seed in zip(prompt_token_ids, seeds, strict=True)
    ]
