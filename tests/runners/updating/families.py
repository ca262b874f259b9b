"""Small models with random weights, one a mechanism by which a family differs from the plain transformer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from agents.models import resolve_model
from agents.text import load_tokenizer

WINDOW = 16
# Far enough from uniform distributions for a wrong one to show; the recurrences' rounding grows with it.
_INIT = 0.1
_TOKENS: dict[str, Any] = {"vocab_size": 512, "bos_token_id": None, "eos_token_id": 3, "pad_token_id": 0}
_SMALL: dict[str, Any] = _TOKENS | {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": _INIT,
}
_HEADS_BY_WIDTH = {name: value for name, value in _SMALL.items() if name != "head_dim"}
_MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 32}
_ONE_OF_TWO = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_DELTA_RULE = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
_GEMMA_3 = _SMALL | _ONE_OF_TWO

# name -> (model_type, settings)
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("llama", _SMALL),
    "Qwen3": ("qwen3", _SMALL),
    "OPT": (  # its head's module calls the decoder inside of the transformer
        "opt",
        _TOKENS
        | {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 48, "num_hidden_layers": 2}
        | {"num_attention_heads": 4, "max_position_embeddings": 256, "init_std": _INIT},
    ),
    "tied": ("llama", _SMALL | {"tie_word_embeddings": True}),
    "Qwen3 MoE": ("qwen3_moe", _SMALL | _EXPERTS | {"num_experts": 4}),
    "Mistral": ("mistral", _SMALL | {"sliding_window": WINDOW}),
    "Gemma 3": ("gemma3_text", _GEMMA_3),
    "GPT-Neo": (
        "gpt_neo",
        _TOKENS
        | {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 256}
        | {"attention_types": [[["global", "local"], 1]], "window_size": WINDOW, "initializer_range": _INIT},
    ),
    "Gemma 2": (
        "gemma2",
        _SMALL | _ONE_OF_TWO | {"final_logit_softcapping": 0.5, "attn_logit_softcapping": 1.0},
    ),
    "Granite": ("granite", _HEADS_BY_WIDTH | {"logits_scaling": 3.0, "embedding_multiplier": 2.0}),
    "Cohere": ("cohere", _HEADS_BY_WIDTH | {"logit_scale": 0.3}),
    "MiniCPM3": (
        "minicpm3",
        _HEADS_BY_WIDTH
        | {"num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8}
        | {"qk_rope_head_dim": 8, "v_head_dim": 8, "scale_emb": 2, "dim_model_base": 16},
    ),
    "Bloom": ("bloom", _TOKENS | {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": _INIT}),
    "MPT": (
        "mpt",
        _TOKENS | {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 256, "initializer_range": _INIT},
    ),
    "Falcon with ALiBi": (
        "falcon",
        _TOKENS
        | {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
        | {"alibi": True, "initializer_range": _INIT},
    ),
    "Qwen3.5": ("qwen3_5_text", _SMALL | _DELTA_RULE),
    "Qwen3-Next": (
        "qwen3_next",
        _SMALL | _DELTA_RULE | _EXPERTS | {"num_experts": 4, "shared_expert_intermediate_size": 16},
    ),
    "LFM2": ("lfm2", _HEADS_BY_WIDTH | {"layer_types": ["conv", "full_attention"]}),
    "Jamba": (
        "jamba",
        {name: value for name, value in _HEADS_BY_WIDTH.items() if name != "max_position_embeddings"}
        | {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1}
        | {"num_experts": 4, "mamba_d_state": 8, "mamba_dt_rank": 4, "use_mamba_kernels": False},
    ),
    "Falcon-H1": ("falcon_h1", _SMALL | _MAMBA | {"mamba_d_ssm": 64, "lm_head_multiplier": 2.0}),
    "GraniteMoeHybrid": (
        "granitemoehybrid",
        _HEADS_BY_WIDTH
        | _MAMBA
        | {"layer_types": ["mamba", "attention"], "num_local_experts": 4, "num_experts_per_tok": 2}
        | {"shared_intermediate_size": 16, "logits_scaling": 3.0},
    ),
    "Mamba": (
        "mamba",
        _TOKENS | {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "initializer_range": _INIT},
    ),
    "Mamba 2": (
        "mamba2",
        _TOKENS
        | {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "num_heads": 4, "head_dim": 16}
        | {"n_groups": 1, "chunk_size": 32, "initializer_range": _INIT},
    ),
    "RecurrentGemma": (
        "recurrent_gemma",
        {name: value for name, value in _SMALL.items() if name not in ("max_position_embeddings", "initializer_range")}
        | {"attention_window_size": WINDOW, "block_types": ("recurrent", "attention"), "lru_width": 32},
    ),
    "Llama 4": (
        "llama4_text",
        _SMALL
        | {"intermediate_size_mlp": 48, "num_local_experts": 4, "attention_chunk_size": WINDOW}
        | {"layer_types": ["chunked_attention", "full_attention"]},
    ),
    "multimodal": (
        "gemma3",
        {
            "text_config": _GEMMA_3 | {"model_type": "gemma3_text"},
            "vision_config": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
            | {"num_attention_heads": 2, "image_size": 28, "patch_size": 14},
            "mm_tokens_per_image": 4,
        },
    ),
}


def save_model(family: str, folder: Path) -> Path:
    """Writes the model, with the bundled tokenizer, and returns the folder."""
    model_type, settings = FAMILIES[family]
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **settings)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    load_tokenizer(resolve_model("tiny")).save_pretrained(folder)
    return folder
