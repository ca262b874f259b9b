"""What the agent answers: groups that do not look alike, of answers of many lengths, so that no two rows agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.wiring.scripted import question

Script = Mapping[str, Sequence[str]]


def script_of(*groups: Sequence[str], title: str = "Problem") -> Script:
    """The answers to problem 0, 1, ..."""
    return {question(number, title): answers for number, answers in enumerate(groups)}


GRADED: Script = script_of(
    ("1 abcde", "0 x", "0 klm", "1 no"),
    ("0 as far as I know", "0 b", "1 c", "0 why"),
    ("1 aa bb", "1 q", "1 some words", "0 t"),
    ("0.5 x", "1 yes", "0 never mind", "0.25 uv"),
)

# Five of sixteen are cut by max_tokens, right ones among them.
CUT: Script = script_of(
    ("1 abcde", "0 x...", "0 klm", "1 no"),
    ("0 as far as I know...", "0 b", "1 c...", "0 why"),
    ("1 aa bb", "1 q", "0 some words", "0 t"),
    ("0.5 x...", "1 yes", "0 never mind...", "0.25 uv"),
)

# Of one to three turns. What the environment asks in between repeats what was said, so its words are many.
TALKS: Script = {
    **script_of(
        ("0 a more", "1 x", "0 klm", "0 b more"),
        ("0 maybe so", "0.5 c more", "1 c", "0 why"),
        ("1 aa bb", "0 d more", "0 e more", "0 t"),
        ("0.5 x", "1 yes", "0 never mind", "0.25 uv"),
    ),
    "After 0 a more": ("1",),
    "After 0 b more": ("0 no",),
    "After 0.5 c more": ("0.25 f more",),
    "After 0.25 f more": ("0.125 end",),
    "After 0 d more": ("0 g",),
    "After 0 e more": ("1 hh ii",),
}

# A verdict is missing here and there: one of a group, most of a group, all but equal ones of a group.
MISSING: Script = script_of(
    ("1 abcde", "nan x", "0 klm", "1 no"),
    ("0 maybe so", "0 b", "1 c", "0 why"),
    ("1 aa bb", "1 q", "1 some words", "nan t"),
    ("nan x", "0 yes", "nan never mind", "nan uv"),
)
