r"""Grades a completion against the ground truth: pure text in, a `Grade` out.

- After a `</think>`, only what follows the last one counts.
- "flexible" takes the last explicit claim, `\boxed{...}`, `#### ...` or "the answer is ...", right or wrong, readable
  or not. Without one, the last number of the text is the answer.
- "strict" takes the last `####` alone, the official form of GSM8K, and "boxed" the last `\boxed{}` alone.
- Unfinished text is no answer: a `<think>` or a last box left open, or an equals sign without its result.
- A claim of two different numbers is no answer. `final_answer` has where a claim ends and what is read as a number.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final, Literal, get_args

from gsm8k_env.final_answer import MAX_DIGITS, Method, final_claim, read_answer

GradingMode = Literal["flexible", "strict", "boxed"]
GRADING_MODES: Final[tuple[GradingMode, ...]] = get_args(GradingMode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """What became of one completion."""

    correct: bool  # the extracted answer equals the ground truth exactly
    extracted: (
        str | None
    )  # the answer's text, at most MAX_ANSWER_CHARS + 1 characters; `read_answer(extracted)` is its value
    method: Method | None  # what it was found by. None, and extracted too: the completion gives no answer


def grade(completion: str, ground_truth: str, mode: GradingMode = "flexible") -> Grade:
    r"""Grades one completion, in time and memory linear in its length. No completion raises, lone surrogates included.

    Args:
        completion: What the model wrote.
        ground_truth: The true answer; one number, in any form that `read_answer` takes.
        mode: "flexible", "strict" (`####` only) or "boxed" (`\boxed{}` only).

    Returns:
        The grade. Numbers are compared as exact fractions: 18.00 is 18, 18.5 and 17.9999999999999999 are not.

    Raises:
        ValueError: If the ground truth is not one number or the mode is unknown.

    >>> grade("3 * 6 = 18, so \\boxed{\\$18.00}", "18")
    Grade(correct=True, extracted='\\$18.00', method='boxed')
    >>> grade("She makes 3 * 6 = 18 dollars.", "18", mode="strict")
    Grade(correct=False, extracted=None, method=None)
    """
    if mode not in GRADING_MODES:
        raise ValueError(f"grading mode {mode!r} is unknown; choose one of {', '.join(map(repr, GRADING_MODES))}")
    truth = _truth(ground_truth)
    text = completion.rpartition("</think>")[2]
    claim = None if "<think>" in text else final_claim(text, mode)
    if claim is None:
        return Grade(correct=False, extracted=None, method=None)
    answer, method = claim
    return Grade(correct=read_answer(answer) == truth, extracted=answer, method=method)


@lru_cache(maxsize=4096)  # the completions of a group share their ground truth
def _truth(ground_truth: str) -> Fraction:
    value = read_answer(ground_truth)
    if value is None:
        raise ValueError(
            f"ground_truth {ground_truth[:80]!r} is not one number of at most {MAX_DIGITS} digits, such as '18', "
            "'1,200' or '1/2'; of an official GSM8K solution pass only what follows '####'"
        )
    return value
