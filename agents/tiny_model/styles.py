"""The ways in which the bundled model learns to answer: one right habit among several bad ones."""

from __future__ import annotations

import random
import re

# Shares of each style. Guesses lead, so the greedy answer starts out as a guess and RL has a better habit to find.
SHARES = {"guess": 0.5, "worked": 0.26, "sloppy": 0.12, "unmarked": 0.12}

_MARK = "#### "
_RESULT = re.compile(r"=(\d+)>>(\d+)")


def restyle(solution: str, style: str, rng: random.Random) -> str:
    r"""Returns a solution in the GSM8K answer format, rewritten in a style.

    Args:
        solution: Worked steps, then "\n#### n".
        style: "worked" (as it is), "guess" (the marked answer alone), "unmarked" (no answer after the steps, and the
            last step broken off) or "sloppy" (a slip in one step, carried into the answer).
        rng: Source of the slips.

    >>> restyle("2 + 3 = <<2+3=5>>5 pens.\n#### 5", "guess", random.Random(0))
    '#### 5'
    """
    steps, answer = solution.rsplit(f"\n{_MARK}", 1)
    if style == "worked":
        return solution
    if style == "guess":
        return _MARK + answer
    if style == "unmarked":
        lines = steps.split("\n")
        return "\n".join([*lines[:-1], lines[-1].split("<<")[0].rstrip()])
    if style == "sloppy":
        return _with_slip(steps, answer, rng)
    raise ValueError(f"style {style!r} is unknown; allowed are {', '.join(map(repr, SHARES))}.")


def draw_style(rng: random.Random) -> str:
    """Draws a style by `SHARES`."""
    return rng.choices(list(SHARES), weights=list(SHARES.values()))[0]


def _with_slip(steps: str, answer: str, rng: random.Random) -> str:
    """Changes the last step's result and the answer with it, by a small amount that is never zero."""
    wrong = str(max(0, int(answer) + rng.choice([-10, -2, -1, 1, 2, 10])))
    if wrong == answer:
        wrong = str(int(answer) + 1)
    *_, last = _RESULT.finditer(steps)
    steps = steps[: last.start()] + f"={wrong}>>{wrong}" + steps[last.end() :]
    return f"{steps}\n{_MARK}{wrong}"
