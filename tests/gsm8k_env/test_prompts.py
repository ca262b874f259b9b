"""Prompts are the question and the instruction; the texts are pinned because they belong to the version."""

import pytest

from gsm8k_env.prompts import INSTRUCTIONS, instruction_text, render_prompt


def test_the_texts_of_version_0() -> None:
    assert INSTRUCTIONS == {
        "hash": 'Think it through step by step, then write the final number after "####".',
        "boxed": "Think it through step by step, then write the final number in \\boxed{}.",
        "none": "",
    }
    assert all(len(text) <= 80 for text in INSTRUCTIONS.values())


@pytest.mark.parametrize(
    ("instruction", "prompt"),
    [
        ("hash", 'How many? Think it through step by step, then write the final number after "####".'),
        ("none", "How many?"),
        ("Be brief.", "How many? Be brief."),
        ("一步一步地想。", "How many? 一步一步地想。"),
    ],
)
def test_render_prompt(instruction: str, prompt: str) -> None:
    assert render_prompt("How many?", instruction) == prompt


def test_the_default_is_hash() -> None:
    assert render_prompt("How many?") == render_prompt("How many?", "hash")


@pytest.mark.parametrize("name", ["hsh", "Boxed", "None"])
def test_an_unknown_name_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}'; allowed: 'hash', 'boxed', 'none'"):
        instruction_text(name)


@pytest.mark.parametrize("value", ["", None, 3])
def test_neither_name_nor_text_is_an_error(value: object) -> None:
    with pytest.raises(ValueError, match="allowed: 'hash', 'boxed', 'none'"):
        instruction_text(value)  # type: ignore[arg-type]
