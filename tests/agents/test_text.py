"""Tokenizers, chat templates, end tokens and prompt checks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing

from agents.models import resolve_model
from agents.text import TextAgent, check_prompts, encode_chat, encode_next_chat, end_token_ids, load_tokenizer


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
    check_prompts([[1], [1] * 9], (4, 5), 10)
    with pytest.raises(ValueError, match="Prompt 1 has 10 tokens; allowed are 1 to 9"):
        check_prompts([[1], [1] * 10], None, 10)
    with pytest.raises(ValueError, match="Prompt 0 has 0 tokens"):
        check_prompts([[]], 3, 10)


def test_special_tokens_are_no_text(folder: Path) -> None:
    agent = TextAgent(folder, max_model_len=64)
    assert agent.decode(agent.encode("Zoë pays ¥5 🍎")) == "Zoë pays ¥5 🍎"


# The bundled template; one with a space before the end token, as Llama 2's; one that rewrites what was said before, as
# Qwen 3's does with thoughts; and one that closes only the user's messages.
TEMPLATES = {
    "plain": None,
    "space": "{% for m in messages %}{% if m.role == 'user' %}<|user|> {{ m.content }} <|assistant|>{% else %}"
    " {{ m.content }} <|end|>{% endif %}{% endfor %}",
    "rewriting": "{% for m in messages %}<|user|>{{ m.role }}\n{% if m.role == 'assistant' and not loop.last %}"
    "{{ m.content.split('thought: ')[-1] }}{% else %}{{ m.content }}{% endif %}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "open": "{% for m in messages %}{% if m.role == 'user' %}<|user|>{{ m.content }}<|end|><|assistant|>{% else %}"
    "{{ m.content }}{% endif %}{% endfor %}",
}


def text_agent(folder: Path, template: str = "plain") -> TextAgent:
    agent = TextAgent(folder, max_model_len=64)
    if TEMPLATES[template]:
        agent.tokenizer.chat_template = TEMPLATES[template]
    return agent


@pytest.mark.parametrize(
    ("template", "continuation"),
    [
        ("plain", "<|user|>Wrong. Again.<|end|><|assistant|>"),
        ("space", "<|user|> Wrong. Again. <|assistant|>"),
        ("rewriting", "\n<|user|>user\nWrong. Again.<|end|>\n<|assistant|>"),
        ("open", "<|user|>Wrong. Again.<|end|><|assistant|>"),
    ],
)
def test_the_next_message_follows_an_ended_completion(folder: Path, template: str, continuation: str) -> None:
    agent = text_agent(folder, template)
    dialogue = [*agent.encode("2 + 2 = ?"), *agent.tokenizer("thought: 5")["input_ids"], agent.end_token_ids[0]]
    assert agent.tokenizer.decode(agent.encode_next(dialogue, "Wrong. Again.")) == continuation


@pytest.mark.parametrize(("template", "end"), [("plain", "<|end|>"), ("space", " <|end|>"), ("rewriting", "<|end|>")])
def test_a_completion_without_end_token_gets_the_templates(folder: Path, template: str, end: str) -> None:
    agent = text_agent(folder, template)
    cut = [*agent.encode("2 + 2 = ?"), *agent.tokenizer("It is")["input_ids"]]
    ended = agent.encode_next([*cut, agent.end_token_ids[0]], "Wrong.")
    continuation = agent.encode_next(cut, "Wrong.")
    assert continuation[-len(ended) :] == ended
    assert agent.tokenizer.decode(continuation[: -len(ended)]) == end


@pytest.mark.parametrize("template", ["plain", "space"])
def test_a_dialogue_by_turns_is_the_dialogue_encoded_at_once(folder: Path, template: str) -> None:
    agent = text_agent(folder, template)
    answer = "It is 5." if template == "plain" else " It is 5. "
    dialogue = [*agent.encode("2 + 2 = ?"), *agent.tokenizer(answer)["input_ids"], agent.end_token_ids[0]]
    dialogue += agent.encode_next(dialogue, "Wrong. Zoë has 4 🍎.")
    messages = [("user", "2 + 2 = ?"), ("assistant", "It is 5."), ("user", "Wrong. Zoë has 4 🍎.")]
    whole = [{"role": role, "content": content} for role, content in messages]
    assert dialogue == agent.tokenizer.apply_chat_template(whole, add_generation_prompt=True, return_dict=False)


def test_the_next_message_without_a_template_is_plain_text(folder: Path) -> None:
    agent = text_agent(folder)
    agent.tokenizer.chat_template = None
    assert agent.tokenizer.decode(agent.encode_next([5], "Wrong.")) == "\nWrong.\n"


def test_a_template_without_the_assistants_messages_is_refused(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = "{{ messages[-1].content }}"
    with pytest.raises(ValueError, match="leaves out what the assistant said before"):
        encode_next_chat(tokenizer, [3], [5], "Wrong.")
