r"""Hostile completions through the grader: none raises, none takes more than linear time.

    python benchmarks/hostile.py                  # a million completions, minutes
    python benchmarks/hostile.py --count 20000

The reward is computed on whatever a policy writes, so a text that raises ends a run, and one that takes quadratic time
stops it. Texts are drawn from pieces that the grader looks for (markers, braces, fractions, signs, digits of other
alphabets, surrogates, control characters), some cut in half, some repeated. For the second question every piece and
pair of pieces is repeated to 16 and to 64 thousand characters: four times the length may take four times as long.
"""

import argparse
import itertools
import math
import random
import time
from typing import Any

from _results import write_results

from gsm8k_env.grading import GRADING_MODES, grade

PIECES = (
    "####", "#### ", "#", "\\boxed{", "\\boxed", "boxed{", "\\fbox{", "{", "}", "$", "$$", "\\(", "\\)", "\\text{",
    "\\frac{", "\\frac12", "\\dfrac", "/", "1/0", "0/0", "-", "\u2212", "+", ".", ",", "1,234", "1,23", "1 000",
    "1\\ 000",
    "1\\,000",
    "9" * 400, "18", "0", "-0", "00018", ".5", "5.", "1e9999",
    "%", "50\\%", "€", "٣", "\uff11\uff12", "²", "½", "∞", "nan",
    "the answer is ", "answer: ", "The final answer is", "Answer", "<think>", "</think>", "\n", "\r", "\t", "\x00",
    "\u2028", "\ud800", "\udfff", "\U0010ffff", "\u202e", "a", " ", "é", "e\u0301", "**", "`", "\\", "\\\\", "=", "x",
)  # fmt: skip
TRUTHS = ("18", "-3", "1/2", "0.25", "1,000", "0")
_SHORT, _LONG = 16_000, 64_000


def hostile_text(rng: random.Random) -> str:
    """Returns a text of up to 400 pieces, most of them short."""
    parts = []
    for _ in range(int(rng.paretovariate(0.7)) % 400):
        piece = rng.choice(PIECES)
        if rng.random() < 0.1:
            piece = piece[: rng.randrange(len(piece) + 1)]
        parts.append(piece * (rng.randrange(1, 40) if rng.random() < 0.05 else 1))
    return "".join(parts)


def grade_all(count: int, seed: int) -> dict[str, Any]:
    """Grades hostile texts in every mode; what raises ends the script with its text.

    Returns:
        How many texts and characters, how many graded right, and seconds of processor time.
    """
    rng = random.Random(seed)
    characters = correct = 0
    seconds = longest = 0.0
    for _ in range(count):
        text, truth = hostile_text(rng), rng.choice(TRUTHS)
        characters += len(text)
        for mode in GRADING_MODES:
            started = time.process_time()
            try:
                correct += grade(text, truth, mode).correct
            except Exception as error:
                raise AssertionError(f"grade({text!r}, {truth!r}, {mode!r})") from error
            taken = time.process_time() - started
            seconds, longest = seconds + taken, max(longest, taken)
    return {
        "texts": count,
        "modes": len(GRADING_MODES),
        "characters": characters,
        "correct": correct,
        "cpu_s": round(seconds, 2),
        "longest_ms": round(1000 * longest, 2),
    }


def growth() -> dict[str, Any]:
    """Times repeated pieces at two lengths; returns the worst exponent of time over length, and where it is.

    An exponent is counted only above 2 ms, below which the clock says little.
    """
    worst: dict[str, Any] = {"exponent": 0.0, "piece": "", "ms": 0.0}
    for pieces in itertools.chain(((piece,) for piece in PIECES), itertools.permutations(PIECES, 2)):
        unit = "".join(pieces)
        short, long = (_seconds(unit * (size // len(unit))) for size in (_SHORT, _LONG))
        if long > 0.002 and (exponent := math.log(long / short) / math.log(_LONG / _SHORT)) > worst["exponent"]:
            worst = {"exponent": round(exponent, 2), "piece": unit, "ms": round(1000 * long, 2)}
    return worst


def _seconds(text: str) -> float:
    def once() -> float:
        started = time.process_time()
        grade(text, "18")
        return time.process_time() - started

    return min(once() for _ in range(3))


def main() -> None:
    """Prints and stores the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    figures = {"graded": grade_all(args.count, args.seed), "growth": growth()}
    print(figures)
    write_results("hostile", figures)


if __name__ == "__main__":
    main()
