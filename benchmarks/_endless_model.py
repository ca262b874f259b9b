"""A model whose completions are as long as they may be."""

import json
import shutil
from pathlib import Path

from agents.models import resolve_model
from agents.text import load_tokenizer

# Hardly ever sampled (once in some 10,000 tokens at most): the policy saw it nowhere but where a prompt begins.
_UNUSED_TOKEN = "<|user|>"


def endless_model(folder: Path) -> Path:
    """Copies the bundled model with an end token that it hardly ever writes, so that completions run to `max_tokens`."""
    shutil.copytree(resolve_model("tiny"), folder)
    token_id = load_tokenizer(folder).convert_tokens_to_ids(_UNUSED_TOKEN)
    for name, key, value in (
        ("config.json", "eos_token_id", token_id),
        ("generation_config.json", "eos_token_id", token_id),
        ("tokenizer_config.json", "eos_token", _UNUSED_TOKEN),
    ):
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), key: value}), encoding="utf-8")
    return folder
