"""The trained policy as a Hugging Face folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import AutoTokenizer, GenerationConfig

from agents.models import resolve_model
from agents.transformers_agent.loading import DTYPES, empty_model


def write_policy(
    folder: str | Path, weights: Mapping[str, torch.Tensor], *, model: str, dtype: str, trust_remote_code: bool
) -> None:
    """Writes configuration, safetensors and tokenizer, in this process.

    Args:
        folder: Made if it is not there.
        weights: Hugging Face parameter name -> whole tensor in main memory.
        model: What the policy was made from; see `agents.models.resolve_model`.
        dtype: A name of `DTYPES`.
        trust_remote_code: Whether the model's folder may run code.

    Raises:
        OSError: If it cannot be written.
    """
    source = resolve_model(model)
    shape = empty_model(source, dtype=DTYPES[dtype], trust_remote_code=trust_remote_code)
    if (source / "generation_config.json").exists():
        shape.generation_config = GenerationConfig.from_pretrained(source)
    shape.save_pretrained(folder, state_dict=dict(weights))
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
