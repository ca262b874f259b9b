"""Worded problems from templates and a seed, in GSM8K's answer format: for work offline and for very small models.

These are not GSM8K's problems. A solution has one line a step, each with its calculator annotation, then the marked
answer (the format of https://huggingface.co/datasets/openai/gsm8k):

    Mia has 3 * 4 = <<3*4=12>>12 shells at first.
    Mia has 12 - 5 = <<12-5=7>>7 shells left.
    #### 7

The problems of a seed are part of the environment's version: tests/gsm8k_env/test_builtin.py pins them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

from gsm8k_env.choices import check_choice, check_count
from gsm8k_env.rows import ANSWER_MARK
from gsm8k_env.templates import BY_LEVEL
from gsm8k_env.templates.form import Template, below

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
LEVELS = tuple(BY_LEVEL)  # numbers of steps

# A draw that only repeats earlier questions this many times in a row takes its level to be used up.
_PATIENCE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A generated problem."""

    question: str
    steps: tuple[str, ...]  # the worked lines, one a step, without the marked answer
    answer: int
    level: int  # the number of steps, 1 to 5
    template: str  # the name of the template it was drawn from

    @property
    def solution(self) -> str:
        """The steps and the marked answer, as GSM8K's column `answer` has them."""
        return "\n".join((*self.steps, f"{ANSWER_MARK} {self.answer}"))


def generate(split: Split, *, count: int, seed: int = 0, levels: Sequence[int] = LEVELS) -> list[Draft]:
    """Draws problems with different questions, each level equally often, in an order that mixes the levels.

    The result depends on the arguments alone, on any platform and Python version, and a longer list starts with the
    shorter one. A question belongs to one split, by its own hash, whatever the seed, so no training problem is ever a
    test problem; the same story with other numbers may be. Two seeds of one split may share questions.

    Args:
        split: "train", or "test" for the eighth of all questions that is held out.
        count: How many problems, at least 1.
        seed: Any integer.
        levels: The numbers of steps to draw, from 1 to 5; order and repeats make no difference.

    Returns:
        The problems.

    Raises:
        ValueError: An unknown split or level, a count below 1, or more problems than there are different questions.

    >>> draft = generate("train", count=1, levels=[1])[0]
    >>> draft.level, draft.solution.splitlines()[-1] == f"#### {draft.answer}"
    (1, True)
    """
    wanted = _check(split, count, levels)
    rng = Random(f"builtin {split} {seed}")
    seen: set[str] = set()
    drafts: list[Draft] = []
    while len(drafts) < count:
        for level in _shuffled(rng, wanted)[: count - len(drafts)]:
            draft = _new_draft(rng, split, BY_LEVEL[level], seen)
            if draft is None:
                found = sum(draft.level == level for draft in drafts)
                raise ValueError(
                    f"count is {count}, but split {split!r} has about {found} different questions of level {level}, "
                    f"which ends levels={wanted} at {len(drafts)} problems: ask for fewer, or for more levels"
                )
            drafts.append(draft)
    return drafts


def split_of(question: str) -> Split:
    """The split a question belongs to: test for a fixed eighth of all texts, chosen by SHA-256."""
    return "test" if hashlib.sha256(question.encode()).digest()[0] < 256 // 8 else "train"


def _check(split: str, count: int, levels: Sequence[int]) -> list[int]:
    """The levels in ascending order, once each."""
    check_choice("split", split, SPLITS)
    check_count("count", count)
    unknown = [level for level in levels if level not in LEVELS]
    if unknown or not levels:
        raise ValueError(f"levels is {list(levels)!r}, but must name one or more of {list(LEVELS)}")
    return sorted(set(levels))


def _shuffled(rng: Random, levels: list[int]) -> list[int]:
    """A permutation that uses `Random.random` alone, for the reason given at `below`."""
    return sorted(levels, key=lambda _: rng.random())


def _new_draft(rng: Random, split: Split, templates: Sequence[Template], seen: set[str]) -> Draft | None:
    """A problem of the split whose question is not in `seen`, to which it is added; None if no such turns up."""
    for _ in range(_PATIENCE):
        template = templates[below(rng, len(templates))]
        scene = template.draw(rng)
        question = template.write_question(scene)
        if question in seen or split_of(question) != split:
            continue
        seen.add(question)
        return Draft(
            question=question,
            steps=template.write_steps(scene),
            answer=template.answer(scene),
            level=template.level,
            template=template.name,
        )
    return None
