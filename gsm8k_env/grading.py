r"""Grades a completion against the ground truth: pure text in, a `Grade` out.

`final_answer` finds what the completion claims, `answer_value` reads it as an exact rational number. The rules, as a
careful reader would have them:

- After a `</think>`, only what follows the last one counts. A `<think>` left open is unfinished text: no answer.
- "flexible" looks for an explicit final answer: `\boxed{...}`, `#### ...`, "the answer is ...". The last one in a text
  wins, right or wrong, readable or not. With none of them, the last number of the text is the answer. A last box that
  is left open is unfinished text: no answer, whatever else the text says.
- "strict" takes the last `####` alone, the official form of GSM8K, and "boxed" the last `\boxed{}` alone.
- `####` has to be exactly four hashes with a number on their line or, where that is empty, on the next one with text. A
  line such as `#### Step 2: sell` with text below it is a Markdown heading, not an answer.
- A text that denies or supposes an answer ("the answer is not 18", "if the answer is 18") has not given it.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final, Literal, get_args

from gsm8k_env.answer_value import MAX_DIGITS, SCALE_WORD, read_answer
from gsm8k_env.final_answer import Box, Claim, Method, after_thinking, last_box, last_hash, last_number, last_phrase

GradingMode = Literal["flexible", "strict", "boxed"]
GRADING_MODES: Final[tuple[GradingMode, ...]] = get_args(GradingMode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """What became of one completion.

    >>> Grade(correct=True, extracted="18", method="hash")
    Grade(correct=True, extracted='18', method='hash')
    """

    correct: bool  # the extracted answer equals the ground truth exactly
    extracted: str | None  # the answer's text, at most about 1,000 characters; `read_answer(extracted)` is its value
    method: Method | None  # what it was found by. None, and extracted too: the completion gives no answer


_NO_ANSWER: Final = Grade(correct=False, extracted=None, method=None)


def grade(completion: str, ground_truth: str, mode: GradingMode = "flexible") -> Grade:
    r"""Grades one completion.

    Time and memory are linear in the completion's length. No completion raises.

    Args:
        completion: What the model wrote. Any string, lone surrogates included.
        ground_truth: The true answer; one number, in any form that `read_answer` takes.
        mode: "flexible", "strict" (`####` only) or "boxed" (`\boxed{}` only).

    Returns:
        The grade. Numbers are compared as exact fractions: 18.00 is 18, 18.5 and 17.9999999999999999 are not.

    Raises:
        ValueError: If the ground truth is not one number or the mode is unknown.

    >>> grade("3 * 6 = 18, so \\boxed{\\$18.00}", "18")
    Grade(correct=True, extracted='\\$18.00', method='boxed')
    >>> grade("She makes 3 * 6 = 18 dollars.", "18")
    Grade(correct=True, extracted='18', method='last_number')
    >>> grade("She makes 3 * 6 = 18 dollars.", "18", mode="strict")
    Grade(correct=False, extracted=None, method=None)
    >>> grade("It is \\boxed{18 or 19}.", "18")
    Grade(correct=False, extracted='18 or 19', method='boxed')
    """
    if mode not in GRADING_MODES:
        raise ValueError(f"grading mode {mode!r} is unknown; choose one of {', '.join(map(repr, GRADING_MODES))}")
    truth = _truth(ground_truth)
    text = after_thinking(completion)
    claim = None if text is None else _claim(text, mode)
    if claim is None:
        return _NO_ANSWER
    return Grade(correct=_equals(claim.text, truth), extracted=claim.text, method=claim.method)


@lru_cache(maxsize=4096)  # the completions of a group share their ground truth
def _truth(ground_truth: str) -> Fraction:
    value = read_answer(ground_truth)
    if value is None:
        raise ValueError(
            f"ground_truth {ground_truth[:80]!r} is not one number of at most {MAX_DIGITS} digits, such as '18', "
            "'1,200' or '1/2'; of an official GSM8K solution pass only what follows '####'"
        )
    return value


def _equals(answer: str, truth: Fraction) -> bool:
    """Whether the answer names the truth. "4 million" names 4 as well, for the questions that ask how many millions."""
    if read_answer(answer) == truth:
        return True
    return SCALE_WORD.search(answer) is not None and read_answer(SCALE_WORD.sub("", answer)) == truth


def _claim(text: str, mode: GradingMode) -> Claim | None:
    if mode == "strict":
        return last_hash(text)
    box = last_box(text)
    if mode == "boxed":
        return box.claim
    return None if box.open else _flexible_claim(text, box)


def _flexible_claim(text: str, box: Box) -> Claim | None:
    """The explicit claim that comes last, else the last number unless the text says that it is not the answer."""
    hashes = last_hash(text, box.end)
    phrases = last_phrase(text, hashes.start if hashes else box.end)
    explicit = phrases.claim or hashes or box.claim
    if explicit is not None:
        return explicit
    number = last_number(text)
    return None if number is not None and number.start in range(*phrases.disowned) else number
