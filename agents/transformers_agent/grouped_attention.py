"""Attention of grouped query heads without copies of their keys and values, where there is no GPU.

Of H heads of queries, H / H' share the keys and values of one of H'. PyTorch's kernel for CPUs wants as many of each,
so the library repeats keys and values, at every token that is sampled. Here the heads that share stand as further
queries under each other: the same products, and nothing is copied.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_NAME = "grouped_queries"


def use_attention(model: PreTrainedModel, name: str, function: Any) -> bool:
    """Has a model's layers compute their attention by a function in the library's interface; returns whether they do.

    Only models whose layers have PyTorch's attention behind that interface can. On a GPU, where nobody has measured it,
    the library's own stays.

    Args:
        model: The model.
        name: What the library is to call the function.
        function: As `transformers.integrations.sdpa_attention.sdpa_attention_forward`.
    """
    known = model.config._attn_implementation == "sdpa" and getattr(model, "_supports_attention_backend", False)
    if not known or model.device.type != "cpu":
        return False
    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, sdpa_mask)
    model.set_attn_implementation(name)
    return model.config._attn_implementation == name


def use_grouped_attention(model: PreTrainedModel) -> None:
    """Has a model that is sampled with attend to single tokens by `grouped_attention`."""
    use_attention(model, _NAME, _decoding_attention)


def grouped_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scale: float | None
) -> torch.Tensor:
    """Returns the attention [B, N, H, D].

    Args:
        query: [B, H, N, D].
        key: [B, H', T, D]; H' divides H.
        value: As `key`.
        mask: [B, 1, N, T] bool, True where a query sees a key, or the same of H / H' times N; None where each sees all.
        scale: Of the products; None is 1 / sqrt(D).
    """
    batch, heads, length, size = query.shape
    shared = heads // key.shape[1]
    if mask is not None and mask.shape[2] == length:
        mask = mask.repeat(1, 1, shared, 1)
    stacked = query.reshape(batch, key.shape[1], shared * length, size)
    attended = torch.nn.functional.scaled_dot_product_attention(stacked, key, value, attn_mask=mask, scale=scale)
    return attended.reshape(batch, heads, length, -1).transpose(1, 2)


def _decoding_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    boolean = attention_mask is None or attention_mask.dtype == torch.bool
    if query.shape[2] > 1 or not boolean or kwargs.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    return grouped_attention(query, key, value, attention_mask, scaling).contiguous(), None
