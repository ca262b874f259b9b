"""The styles in which the bundled model learns to answer."""

from __future__ import annotations

import collections
import random

import pytest

from agents.tiny_model.styles import SHARES, draw_style, restyle

SOLUTION = "He buys 2 * 3 = <<2*3=6>>6 pens.\nHe has 6 + 4 = <<6+4=10>>10 pens.\n#### 10"


def test_worked_is_unchanged() -> None:
    assert restyle(SOLUTION, "worked", random.Random(0)) == SOLUTION


def test_guess_is_the_answer_alone() -> None:
    assert restyle(SOLUTION, "guess", random.Random(0)) == "#### 10"


def test_unmarked_gives_no_answer() -> None:
    text = restyle(SOLUTION, "unmarked", random.Random(0))
    assert "####" not in text
    assert "10" not in text
    assert text.startswith("He buys 2 * 3 = <<2*3=6>>6 pens.")


@pytest.mark.parametrize("seed", range(20))
def test_sloppy_slips_in_the_last_step_and_carries_it_on(seed: int) -> None:
    text = restyle(SOLUTION, "sloppy", random.Random(seed))
    answer = text.rsplit("#### ", 1)[1]
    assert answer != "10"
    assert f"<<6+4={answer}>>{answer}" in text
    assert "<<2*3=6>>6" in text


def test_unknown_styles() -> None:
    with pytest.raises(ValueError, match="'tidy' is unknown; allowed are 'guess'"):
        restyle(SOLUTION, "tidy", random.Random(0))


def test_styles_are_drawn_by_their_shares() -> None:
    assert sum(SHARES.values()) == pytest.approx(1.0)
    rng = random.Random(0)
    counts = collections.Counter(draw_style(rng) for _ in range(20_000))
    for style, share in SHARES.items():
        assert counts[style] / 20_000 == pytest.approx(share, abs=0.02)
