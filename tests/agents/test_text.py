"""Tokenizers, chat templates, end tokens and prompt checks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing

from agents.models import resolve_model
from agents.text import TextAgent, check_prompts, encode_chat, end_token_ids, load_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the bundled model's tokenizer and configuration."""
    for path in resolve_model("tiny").iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, tmp_path)
    return tmp_path


def test_the_chat_template_puts_the_user_first_and_opens_the_answer(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    text = tokenizer.decode(encode_chat(tokenizer, "2 + 2 = ?"))
    assert text == "<|user|>2 + 2 = ?<|end|><|assistant|>"


def test_without_a_template_the_plain_text_is_encoded(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = None
    assert tokenizer.decode(encode_chat(tokenizer, "2 + 2 = ?")) == "2 + 2 = ?"


def test_c6_one_bos_where_template_and_tokenizer_both_want_one(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    bos = "<|pad|>"  # any special token will do
    tokenizer.bos_token = bos
    tokenizer.add_bos_token = True
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    assert tokenizer("x")["input_ids"].count(tokenizer.bos_token_id) == 1
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    assert encode_chat(tokenizer, "2 + 2 = ?").count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("configured", [[7, 9], 7, None])
def test_every_end_token_counts(folder: Path, configured: list[int] | int | None) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": configured}))
    tokenizer = load_tokenizer(folder)
    expected = {tokenizer.eos_token_id, *([configured] if isinstance(configured, int) else configured or [])}
    assert end_token_ids(folder, tokenizer) == tuple(sorted(expected))


def test_end_tokens_without_a_generation_config(folder: Path) -> None:
    (folder / "generation_config.json").unlink()
    tokenizer = load_tokenizer(folder)
    assert end_token_ids(folder, tokenizer) == (tokenizer.eos_token_id,)


def test_prompts_are_checked_with_their_number() -> None:
    check_prompts([[1], [1] * 9], 10)
    with pytest.raises(ValueError, match="Prompt 1 has 10 tokens; allowed are 1 to 9"):
        check_prompts([[1], [1] * 10], 10)
    with pytest.raises(ValueError, match="Prompt 0 has 0 tokens"):
        check_prompts([[]], 10)


def test_special_tokens_are_no_text(folder: Path) -> None:
    agent = TextAgent(folder, max_model_len=64)
    assert agent.decode(agent.encode("Zoë pays ¥5 🍎")) == "Zoë pays ¥5 🍎"
