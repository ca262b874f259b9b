"""A call for n completions of N prompts as N * n calls for one, each with its own seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agents.base import SamplingParams
from agents.seeds import prompt_seeds


def singles(prompts: Sequence[Sequence[int]], params: SamplingParams) -> tuple[list[Sequence[int]], SamplingParams]:
    """Returns the N * n prompts, prompt-major, and the parameters to sample one completion of each.

    Completion j of prompt i has the seed s_i + j. An engine that caches prefixes computes a prompt once all the same.
    """
    seeds = prompt_seeds(params.seed, len(prompts))
    each = tuple(seed + number for seed in seeds if seed is not None for number in range(params.n))
    return [prompt for prompt in prompts for _ in range(params.n)], replace(params, n=1, seed=each or None)
