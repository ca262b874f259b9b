"""The instruction texts that follow a question in the user message, and the feedback on a wrong answer.

The texts belong to the environment's version: changing one changes what every agent reads, so it needs a new id.
"""

import re

from gsm8k_env.choices import check_choice

DEFAULT_INSTRUCTION = "hash"

INSTRUCTIONS: dict[str, str] = {
    "hash": 'Think it through step by step, then write the final number after "####".',
    "boxed": r"Think it through step by step, then write the final number in \boxed{}.",
    "none": "",
}

FEEDBACK_WRONG = "That answer is wrong. Try again."
FEEDBACK_NO_ANSWER = "No final answer was found. Try again."

# A value of these characters alone can only be meant as a name. Anything else, such as a space, makes it a text.
_NAME = re.compile(r"[A-Za-z0-9_-]*")


def instruction_text(instruction: str) -> str:
    r"""Returns the text that an ``instruction`` option stands for.

    Args:
        instruction: A name in ``INSTRUCTIONS``, or the text itself. A value made only of ASCII letters, digits, "_"
            and "-" is read as a name; any other value is a text and is returned as it is.

    Raises:
        ValueError: It reads as a name but there is no such name, or it is not a str.

    >>> instruction_text("boxed")
    'Think it through step by step, then write the final number in \\boxed{}.'
    >>> instruction_text("Answer briefly.")
    'Answer briefly.'
    """
    if isinstance(instruction, str) and not _NAME.fullmatch(instruction):
        return instruction
    return INSTRUCTIONS[check_choice("instruction (or give a text of more than one word)", instruction, INSTRUCTIONS)]


def render_prompt(question: str, instruction: str = DEFAULT_INSTRUCTION) -> str:
    """Returns the user message: the question, one space, the instruction's text; the question alone if that is empty.

    Args:
        question: The problem's question, unchanged.
        instruction: As in ``instruction_text``.

    Raises:
        ValueError: As in ``instruction_text``.

    >>> render_prompt("What is 2 + 2?", "Answer briefly.")
    'What is 2 + 2? Answer briefly.'
    >>> render_prompt("What is 2 + 2?", "none")
    'What is 2 + 2?'
    """
    return join_prompt(question, instruction_text(instruction))


def join_prompt(question: str, text: str) -> str:
    """Returns what ``render_prompt`` does, for an instruction whose text is already known."""
    return f"{question} {text}" if text else question
