"""`agents.SamplingParams` in SGLang's words, and its answers as `EngineOutput`s."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from agents.base import SamplingParams
from agents.engine_output import EngineOutput, engine_output
from agents.seeds import prompt_seeds

logger = logging.getLogger(__name__)
_SEED_WARNING = (
    "SGLang ignores SamplingParams.seed unless it runs with enable_deterministic_inference=True; its option "
    "random_seed decides instead."
)
_warned: set[str] = set()


def requests(
    prompt_token_ids: Sequence[Sequence[int]],
    params: SamplingParams,
    *,
    end_token_ids: Sequence[int],
    max_model_len: int,
    seeds_requests: bool,
) -> list[dict[str, Any]]:
    """Returns a request for one completion of each prompt, as SGLang's `sampling_params` name it.

    Every field that shapes the distribution is set, so that no default of the checkpoint's generation_config.json
    applies. `ignore_eos` would make SGLang ignore the explicit stop ids too.

    Raises:
        ValueError: For top-k or top-p: SGLang reports the log-probabilities of the distribution before both.
    """
    if params.temperature > 0 and (params.top_k or params.top_p < 1):
        raise ValueError(
            f"SGLang reports log-probabilities before top-k and top-p, so top_k={params.top_k} and "
            f"top_p={params.top_p} are not allowed here. Use top_k=0 and top_p=1.0, or the engine vllm or transformers."
        )
    if params.seed is not None and not seeds_requests and _SEED_WARNING not in _warned:
        _warned.add(_SEED_WARNING)
        logger.warning(_SEED_WARNING)
    stops = sorted({*end_token_ids, *params.stop_token_ids})
    seeds = prompt_seeds(params.seed if seeds_requests else None, len(prompt_token_ids))
    return [
        {
            "n": 1,
            "temperature": params.temperature,
            "top_p": 1.0,
            "top_k": -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "max_new_tokens": min(params.max_tokens, max_model_len - len(prompt)),
            "min_new_tokens": 0,
            "stop_token_ids": stops,
            "ignore_eos": False,
            "sampling_seed": seed,
            "skip_special_tokens": False,
        }
        for prompt, seed in zip(prompt_token_ids, seeds, strict=True)
    ]


def output(item: dict[str, Any]) -> EngineOutput:
    """Returns the completion of a request."""
    return engine_output(
        item["output_ids"],
        (logprob for logprob, *_ in item["meta_info"]["output_token_logprobs"]),
        item["meta_info"]["finish_reason"]["type"],
    )
