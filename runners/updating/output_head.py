"""The way of a model from hidden states to logits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from transformers import PreTrainedModel


def model_head(model: PreTrainedModel, output: Any, states: torch.Tensor) -> torch.Tensor:
    """Returns the logits [M, V] that a model makes of hidden states [M, H].

    The model's own forward, in which the transformer answers with `states` at once: so whatever a family does to its
    logits (multipliers, caps) is in them.

    Args:
        model: The model.
        output: What its transformer returned, whose last hidden state `states` take the place of.
        states: [M, H] some of the last hidden states.
    """
    given = replace(output, last_hidden_state=states[None])
    transformer = vars(model.get_decoder())
    transformer["forward"] = lambda *args, **kwargs: given
    try:
        return model(inputs_embeds=states[None], use_cache=False).logits[0]
    finally:
        del transformer["forward"]
