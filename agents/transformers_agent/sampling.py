"""From logits to a drawn token: the distribution that is sampled, and each row's random numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from agents.base import SamplingParams

# What `draw` counts probabilities in: fine enough for every float32 from 2**-29 up to be exact, and few enough for
# float64 to hold every sum.
_UNITS = 2.0**52


def sampled_logprobs(logits: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """Returns the log-probabilities of the distribution that is sampled, [B, V] float32 from logits [B, V].

    Temperature first, then top-k, then top-p over what is left, renormalised: vLLM's order. Greedy sampling
    (temperature 0) reports the distribution of temperature 1.
    """
    logprobs = torch.log_softmax(logits.float() / (params.temperature or 1.0), dim=-1)
    if params.top_k == 0 and params.top_p == 1.0:
        return logprobs
    ordered, order = logprobs.sort(dim=-1, descending=True)
    drop = torch.zeros_like(ordered, dtype=torch.bool)
    if params.top_k:
        drop[:, params.top_k :] = True
    kept = ordered.masked_fill(drop, -torch.inf).softmax(dim=-1)
    # A token stays while the mass before it is below top_p, so the likeliest always stays.
    drop |= kept.cumsum(dim=-1) - kept >= params.top_p
    ordered = torch.log_softmax(ordered.masked_fill(drop, -torch.inf), dim=-1)
    return torch.empty_like(logprobs).scatter_(1, order, ordered)


def row_uniforms(seeds: Sequence[int | None], first: int, params: SamplingParams) -> torch.Tensor:
    """Returns the random numbers of B = N * n rows: [B, max_tokens] float64 in [0, 1).

    Number t of a row decides its token t. It depends on the row's seed and t alone, whatever `max_tokens` is.

    Args:
        seeds: [N] of the prompts; None takes fresh random numbers.
        first: Number of each prompt's first completion: completion j has the stream of the prompt's seed + j.
        params: `n` and `max_tokens`.
    """
    streams = (
        np.random.default_rng(None if seed is None else seed + number)
        for seed in seeds
        for number in range(first, first + params.n)
    )
    return torch.from_numpy(np.stack([stream.random(params.max_tokens) for stream in streams]))


def draw(logprobs: torch.Tensor, params: SamplingParams, numbers: torch.Tensor) -> torch.Tensor:
    """Draws one id a row, [B] from log-probabilities [B, V] and float64 numbers [B], uniform in [0, 1).

    By the inverse of the cumulative distribution function: the first id at which the cumulated probability exceeds the
    row's number times the sum of all. Probabilities are cumulated as whole numbers. Their sums are exact on every
    device and in any order of adding, so they rise at ids with a probability above 0 and nowhere else, and the last is
    above every threshold. In float32 they would stand still on a long tail, whose ids would never be drawn.
    """
    if params.temperature == 0:
        return logprobs.argmax(dim=-1)
    cumulated = logprobs.exp().mul_(_UNITS).long().cumsum_(dim=-1)
    thresholds = (numbers * cumulated[:, -1]).long()
    drawn = torch.searchsorted(cumulated, thresholds[:, None], right=True)[:, 0]
    # NaNs, of broken weights, may lead beyond the last id.
    return drawn.clamp_(max=logprobs.shape[1] - 1)
