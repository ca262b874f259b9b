"""A forward pass over new tokens, with the past in a cache."""

from __future__ import annotations

import inspect
from functools import cache as remembered

import torch
from transformers import PreTrainedModel

from agents.transformers_agent.cache import SamplingCache


def next_token_logits(
    model: PreTrainedModel, cache: SamplingCache, ids: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Returns the next-token logits [R, V]; the cache takes up the new tokens.

    Args:
        model: Scores the tokens.
        cache: Holds the T - S tokens before.
        ids: [R, S] the new tokens.
        mask: [R, T] over past and present, 0 on padding, which stands on the left.
    """
    positions = (mask.cumsum(dim=1) - 1).clamp_min_(0)[:, -ids.shape[1] :]
    states_only = _has_states_only(type(model))  # type: ignore[arg-type]  # a class is hashable
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


@remembered  # asked for every token
def _has_states_only(kind: type[PreTrainedModel]) -> bool:
    """Returns whether it is a state space model: without attention, and with another name for its cache."""
    return "cache_params" in inspect.signature(kind.forward).parameters
