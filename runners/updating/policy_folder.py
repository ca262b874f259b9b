"""The trained policy as a Hugging Face folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import AutoTokenizer, GenerationConfig

from agents.models import resolve_model
from agents.transformers_agent.loading import DTYPES, empty_model
from runners.settings import PolicySettings


def write_policy(folder: str | Path, weights: Mapping[str, torch.Tensor], policy: PolicySettings) -> None:
    """Writes configuration, safetensors and tokenizer, in this process.

    Args:
        folder: Made if it is not there.
        weights: Hugging Face parameter name -> full tensor in main memory.
        policy: What it was made from.

    Raises:
        OSError: If it cannot be written.
    """
    source = resolve_model(policy.policy_model)
    shape = empty_model(source, dtype=DTYPES[policy.dtype], trust_remote_code=policy.trust_remote_code)
    if (source / "generation_config.json").exists():
        shape.generation_config = GenerationConfig.from_pretrained(source)
    shape.save_pretrained(folder, state_dict=dict(weights))
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
