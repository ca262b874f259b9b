"""Attention over rows whose completions share a prompt, without the products that the mask would throw away.

A row of `objectives.packing` is a prompt and G completions. Under a mask each of its P + G * C tokens is compared with
each; here the prompt is compared with itself and a completion with its prompt and itself: G * C * (P + C) products
instead of (P + G * C)^2. The kernels are PyTorch's own (`transformers.integrations.sdpa_attention`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from agents.transformers_agent.grouped_attention import grouped_attention, use_attention
from runners.objectives.packing import PackedRows

_NAME = "shared_prompts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completions:
    """S completions of up to C tokens behind prompts of up to P.

    Attributes:
        queries: [S, C] int64, places in the flattened [R * L] of each completion's tokens; 0 where there is none.
        keys: [S, P + C] int64, likewise of what each sees: its prompt and itself.
        visible: [S, 1, C, P + C] bool, which of these each of its tokens sees.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    visible: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPrompts:
    """Where the parts of R rows of L tokens stand.

    Attributes:
        prompt_tokens: P; the first P places of every row, those behind a shorter prompt included.
        completions: Those of like length together, so that little is padding.
        places: [R * L] int64, where each place's outcome stands among R * P of prompts and all S * C of completions.
    """

    prompt_tokens: int
    completions: tuple[Completions, ...]
    places: torch.Tensor

    @classmethod
    def of(cls, packed: PackedRows, device: torch.device) -> SharedPrompts:
        """Returns the parts of packed rows."""
        segments = torch.as_tensor(packed.segments, device=device)
        rows, length = segments.shape
        prompts = (segments == 0).sum(dim=1)
        width = int(prompts.max())
        counts = torch.stack([(segments == number).sum(dim=1) for number in range(1, int(segments.max()) + 1)], dim=1)
        row, number = counts.nonzero(as_tuple=True)  # of each completion
        lengths = counts[row, number]
        first = row * length + prompts[row] + (counts.cumsum(dim=1) - counts)[row, number]
        seen = torch.arange(width, device=device)
        prompt_places = torch.arange(rows, device=device)[:, None] * length + seen
        places = torch.zeros(rows * length, dtype=torch.int64, device=device)
        places[prompt_places.flatten()] = torch.arange(rows * width, device=device)
        completions, num_outcomes = [], rows * width
        size = lengths.log2().ceil()  # up to twice as long, one call
        for one in size.unique():
            alike = (size == one).nonzero()[:, 0]
            own = torch.arange(int(lengths[alike].max()), device=device)
            exists = own < lengths[alike, None]
            queries = (first[alike, None] + own) * exists
            of_prompt = (seen < prompts[row[alike], None])[:, None, :].expand(-1, len(own), -1)
            causal = (own[:, None] >= own)[None].expand(len(alike), -1, -1)
            outcomes = num_outcomes + torch.arange(queries.numel(), device=device).view_as(queries)
            places[queries[exists]] = outcomes[exists]
            num_outcomes += queries.numel()
            completions.append(
                Completions(
                    queries=queries,
                    keys=torch.cat([prompt_places[row[alike]], queries], dim=1),
                    visible=torch.cat([of_prompt, causal], dim=2)[:, None],
                )
            )
        return cls(prompt_tokens=width, completions=tuple(completions), places=places)


def shared_prompts(packed: PackedRows, device: torch.device) -> dict[str, Any]:
    """Returns the model's arguments that keep completions apart by their places.

    The mask is one that no layer looks at: without any the library would make its own.
    """
    unseen = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)
    return {"attention_mask": unseen, "shared_prompts": SharedPrompts.of(packed, device)}


def use_shared_attention(model: PreTrainedModel) -> bool:
    """Has a model's layers take `shared_prompts=SharedPrompts` in their forward; returns whether they do."""
    return use_attention(model, _NAME, shared_attention)


def shared_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    shared_prompts: SharedPrompts | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of a layer, in the library's interface.

    Args:
        module: The layer.
        query: [R, H, L, D].
        key: [R, H', L, D], H' the heads of keys and values.
        value: As `key`.
        attention_mask: As PyTorch's; not looked at with `shared_prompts`.
        shared_prompts: The rows' parts; None where they share nothing.
        kwargs: As of `sdpa_attention_forward`.

    Returns:
        [R, L, H, D], and None in place of the weights.
    """
    if shared_prompts is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    first = slice(shared_prompts.prompt_tokens)
    of_prompts, _ = sdpa_attention_forward(
        module, query[:, :, first], key[:, :, first], value[:, :, first], None, **{**kwargs, "is_causal": True}
    )
    of_completions = [
        grouped_attention(
            _taken(query, alike.queries),
            _taken(key, alike.keys),
            _taken(value, alike.keys),
            alike.visible,
            kwargs.get("scaling"),
        )
        for alike in shared_prompts.completions
    ]
    outcomes = torch.cat([outcome.flatten(0, 1) for outcome in (of_prompts, *of_completions)])
    rows, _, length, _ = query.shape
    return outcomes.index_select(0, shared_prompts.places).unflatten(0, (rows, length)), None


def _taken(tensor: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Returns [S, H, N, D] of [R, H, L, D], from places [S, N] in the flattened [R * L]."""
    flat = tensor.transpose(1, 2).flatten(0, 1)
    return flat.index_select(0, places.flatten()).unflatten(0, places.shape).transpose(1, 2)
