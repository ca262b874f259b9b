"""Batched sampling: one prefill a prompt, n completions each, rows dropped as they end."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from transformers import PreTrainedModel

from agents.base import SamplingParams
from agents.transformers_agent.cache import SamplingCache

# Rows are dropped from the batch once this share of them has ended: dropping copies the cache.
_SHRINK_BELOW = 0.75
# What `draw` counts probabilities in: fine enough for every float32 from 2**-29 up to be exact, and few enough for
# float64 to hold every sum.
_UNITS = 2.0**52


@dataclass(slots=True, kw_only=True)
class Sampled:
    """Raw completions of B = N * n rows, prompt-major.

    Attributes:
        token_ids: [B, T] ids, meaningful up to `lengths`.
        logprobs: [B, T] log-probability of each id under the sampled distribution, float32.
        lengths: [B] tokens of each completion, the end token included.
        ended: [B] whether an end token was drawn or a stop text completed.
    """

    token_ids: torch.Tensor
    logprobs: torch.Tensor
    lengths: torch.Tensor
    ended: torch.Tensor


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


@torch.inference_mode()
def sample(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    *,
    end_token_ids: Sequence[int],
    uniforms: torch.Tensor,
    completes_stop: Callable[[list[int]], bool] | None = None,
) -> Sampled:
    """Samples `params.n` completions for each of N prompts.

    Prompts are padded on the left; positions and attention skip the padding.

    Args:
        model: Scores the tokens.
        prompts: [N][P] ids.
        params: How to sample; `params.stop` is what `completes_stop` looks for.
        end_token_ids: The model's own end tokens.
        uniforms: [N * n, max_tokens] see `row_uniforms`.
        completes_stop: Whether a completion's ids so far end with a stop text; None where there is none.
    """
    device, rows = model.device, len(prompts) * params.n
    width = max(map(len, prompts))
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    ids, mask = ids.to(device), mask.to(device)

    cache = SamplingCache(model.config)
    # State space models have no attention, and call their cache otherwise.
    states_only = "cache_params" in inspect.signature(model.forward).parameters
    forward = partial(_forward, model, cache=cache, states_only=states_only)
    logits = forward(ids, mask)
    logits = logits.repeat_interleave(params.n, dim=0)
    cache.repeat(params.n, reserve=params.max_tokens)
    mask = mask.repeat_interleave(params.n, dim=0)

    token_ids = torch.zeros(rows, params.max_tokens, dtype=torch.long, device=device)
    logprobs = torch.zeros(rows, params.max_tokens, device=device)
    lengths = torch.full((rows,), params.max_tokens, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    ends = torch.tensor([*end_token_ids, *params.stop_token_ids], device=device)
    active = torch.arange(rows, device=device)  # the output row of each batch row still in the batch
    for step in range(params.max_tokens):
        distribution = sampled_logprobs(logits, params)
        drawn = draw(distribution, params, uniforms[active, step])
        running = ~ended[active]
        target = active[running]
        token_ids[target, step] = drawn[running]
        logprobs[target, step] = distribution.gather(1, drawn[:, None])[:, 0][running]
        ending = torch.isin(drawn[running], ends)
        if completes_stop is not None:
            stopped = [completes_stop(ids) for ids in token_ids[target, : step + 1].tolist()]
            ending |= torch.tensor(stopped, dtype=torch.bool, device=device)
        just_ended = target[ending]
        ended[just_ended] = True
        lengths[just_ended] = step + 1
        running = ~ended[active]
        alive = int(running.sum())
        if alive == 0 or step + 1 == params.max_tokens:
            break
        if alive < _SHRINK_BELOW * len(active):
            keep = running.nonzero()[:, 0]
            active, drawn, mask = active[keep], drawn[keep], mask[keep]
            padding = int(mask.argmax(dim=1).min())
            mask = mask[:, padding:]
            cache.select(keep, padding)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        logits = forward(drawn[:, None], mask)
    return Sampled(token_ids=token_ids, logprobs=logprobs, lengths=lengths, ended=ended)


def _forward(
    model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, *, cache: SamplingCache, states_only: bool
) -> torch.Tensor:
    """Returns the next-token logits [B, V] after `ids` [B, S], with `mask` [B, T] over past and present."""
    positions = (mask.cumsum(dim=1) - 1).clamp_min_(0)[:, -ids.shape[1] :]
    if states_only:  # the past is in the states
        mask = mask[:, -ids.shape[1] :]
    output = model(
        input_ids=ids,
        # Without padding no mask is needed, and the faster attention kernels apply.
        attention_mask=None if bool(mask.all()) else mask,
        position_ids=positions,
        use_cache=True,
        logits_to_keep=1,
        **{"cache_params" if states_only else "past_key_values": cache},
    )
    return output.logits[:, -1]
