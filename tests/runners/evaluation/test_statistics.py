import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runners.evaluation.statistics import (
    Estimate,
    effective_trials,
    majority_at_k,
    mean_over_problems,
    pass_at_k,
    wilson_interval,
)


# Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
@pytest.mark.parametrize(
    ("right", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_against_a_published_table(right: int, trials: int, low: float, high: float) -> None:
    interval = wilson_interval(right / trials, trials)
    assert interval == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_bounds_solve_the_equation_they_are_defined_by(trials: int, share: float) -> None:
    z = 1.959963984540054
    for bound in wilson_interval(share, trials):
        assert (bound - share) ** 2 == pytest.approx(z * z * bound * (1 - bound) / trials, abs=1e-9)


def test_standard_error_of_one_completion_a_problem_by_hand() -> None:
    # p = 0.25 of 4: sqrt(0.25 * 0.75 / 4) = sqrt(0.046875)
    estimate = mean_over_problems([1, 0, 0, 0])
    assert estimate == Estimate(value=0.25, standard_error=math.sqrt(0.046875))


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=12))
def test_standard_error_is_clustered_as_in_miller_2024(correct: list[list[bool]]) -> None:
    scores = np.array(correct, dtype=float)
    total = scores.size
    centred = scores - scores.mean()
    variance = (centred**2).sum() / total**2  # that of independent completions, then what clusters add
    variance += sum(row[i] * row[j] for row in centred for i in range(3) for j in range(3) if i != j) / total**2
    error = mean_over_problems(scores.mean(axis=1)).standard_error
    assert error**2 == pytest.approx(variance, abs=1e-12)


def test_no_problem_has_no_mean() -> None:
    with pytest.raises(ValueError, match="at least one problem"):
        mean_over_problems([])


def test_effective_trials_by_hand() -> None:
    # Two problems whose two completions agree: se^2 = 0.25 / 2, so two trials and not four.
    assert effective_trials(mean_over_problems([1.0, 0.0]), 2, 2) == pytest.approx(2)
    # All alike: no spread is seen, and the problems count.
    assert effective_trials(mean_over_problems([1.0, 1.0, 1.0]), 3, 8) == 3
    # More than the completions there are is never claimed: se^2 = 0.01 / 2 would make 50 of 4.
    assert effective_trials(mean_over_problems([0.6, 0.4]), 2, 2) == 4


def test_pass_at_k_by_hand() -> None:
    assert pass_at_k(10, 3, 5) == pytest.approx(1 - 21 / 252)
    assert pass_at_k(5, 5, 1) == 1.0
    assert pass_at_k(5, 2, 4) == 1.0  # only three are wrong
    assert pass_at_k(5, 0, 5) == 0.0


def test_pass_at_k_equals_enumeration() -> None:
    for n in range(1, 8):
        for right, k in itertools.product(range(n + 1), range(1, n + 1)):
            outcomes = [True] * right + [False] * (n - right)
            hits = [any(subset) for subset in itertools.combinations(outcomes, k)]
            assert pass_at_k(n, right, k) == pytest.approx(sum(hits) / len(hits), abs=1e-14), (n, right, k)


def test_pass_at_k_keeps_its_digits() -> None:
    assert pass_at_k(10**6, 1, 1) == pytest.approx(1e-6, rel=1e-14)
    assert pass_at_k(1000, 500, 100) == pytest.approx(1 - math.comb(500, 100) / math.comb(1000, 100), rel=1e-14)


@pytest.mark.parametrize(("n", "right", "k"), [(4, 1, 5), (4, 1, 0), (4, 5, 1), (4, -1, 1)])
def test_pass_at_k_refuses(n: int, right: int, k: int) -> None:
    with pytest.raises(ValueError, match="need 1 <= k <= n"):
        pass_at_k(n, right, k)


def test_majority_by_hand() -> None:
    assert majority_at_k(3, [2], 0, 5) == 1.0
    assert majority_at_k(2, [2], 0, 4) == 0.5  # a tie of two
    assert majority_at_k(1, [1, 1], 0, 3) == pytest.approx(1 / 3)  # a tie of three
    assert majority_at_k(1, [], 4, 5) == 1.0  # those without an answer do not vote
    assert majority_at_k(0, [], 3, 2) == 0.0
    # k = 2 of {right, right, wrong}: 1 subset wins, 2 tie.
    assert majority_at_k(2, [1], 0, 2) == pytest.approx((1 + 2 * 0.5) / 3)


@given(st.lists(st.sampled_from("RABC-"), min_size=1, max_size=8), st.data())
def test_majority_equals_enumeration(answers: list[str], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(answers)))
    shares = []
    for subset in itertools.combinations(answers, k):
        votes = Counter(answer for answer in subset if answer != "-")
        leaders = [answer for answer in votes if votes[answer] == max(votes.values())]
        shares.append(1 / len(leaders) if "R" in leaders else 0.0)
    counts = Counter(answers)
    wrong = [counts[name] for name in "ABC" if counts[name]]
    computed = majority_at_k(counts["R"], wrong, counts["-"], k)
    assert computed == pytest.approx(sum(shares) / len(shares), abs=1e-12)


def test_at_one_all_three_measures_agree() -> None:
    assert majority_at_k(3, [4, 1], 0, 1) == pytest.approx(pass_at_k(8, 3, 1)) == pytest.approx(3 / 8)


def test_majority_refuses_more_than_there_are() -> None:
    with pytest.raises(ValueError, match="k must be from 1 to 3"):
        majority_at_k(2, [1], 0, 4)


def test_majority_of_many_completions_is_quick_and_exact() -> None:
    # 64 completions, 20 right, the rest all different: a tie needs one vote each.
    value = majority_at_k(20, [1] * 44, 0, 32)
    none_right = math.comb(44, 32) / math.comb(64, 32)
    one_right = 20 * math.comb(44, 31) / math.comb(64, 32)
    assert value == pytest.approx(1 - none_right - one_right * 31 / 32, rel=1e-12)
