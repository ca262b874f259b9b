"""What a causal language model makes of sequences without a cache: each computed once with all that begin it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from transformers import PreTrainedModel

from runners.token_module.prefixes import longest_rows, sequence_keys
from runners.updating.output_head import model_head


def check_model(model: PreTrainedModel, num_tokens: int) -> None:
    """Checks that a model gives its hidden states, and logits of every token.

    Args:
        model: The model.
        num_tokens: Of its tokenizer.

    Raises:
        ValueError: If it does not.
    """
    size = model.config.get_text_config().vocab_size
    if size < num_tokens:
        raise ValueError(
            f"The tokenizer of {model.config.name_or_path!r} has {num_tokens:,} tokens, but the model knows {size:,}: "
            "call its resize_token_embeddings, and save it with the tokenizer."
        )
    if model.base_model is model:
        raise ValueError(
            f"{model.config.name_or_path!r} ({type(model).__name__}) has no transformer apart from its head, so that "
            "its hidden states, which the value head reads, cannot be had: take another model."
        )


def last_states(
    model: PreTrainedModel, token_ids: torch.Tensor, lengths: torch.Tensor, *, share_prefixes: bool = True
) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
    """Returns the hidden state at each sequence's last token, [B, H], and what makes logits [B, V] of them.

    A sequence that begins another is not computed: in a causal model its states are the other's.

    Args:
        model: The model.
        token_ids: int [B, T], padded on the right with whatever.
        lengths: int [B], each at least 1.
        share_prefixes: Whether to do so; without, every row is computed.
    """
    used = int(lengths.max())
    rows = torch.arange(len(lengths), device=lengths.device)
    if share_prefixes:
        longest = longest_rows(sequence_keys(token_ids.cpu().numpy(), lengths.cpu().numpy()))
        kept, rows = torch.as_tensor(longest, device=lengths.device).unique(return_inverse=True)
        token_ids, kept_lengths = token_ids[kept], lengths[kept]
    else:
        kept_lengths = lengths
    padding = torch.arange(used, device=lengths.device) >= kept_lengths[:, None]
    # Padded on the right, where a causal model never looks from a real token: no mask is needed.
    ids = token_ids[:, :used].long().masked_fill(padding, 0)
    output = model.base_model(input_ids=ids, use_cache=False)
    return output.last_hidden_state[rows, lengths.long() - 1], partial(model_head, model, output)
