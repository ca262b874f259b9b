"""Statistics of few runs: numbers worked by hand, scipy, and the whole bootstrap distribution."""

import itertools

import numpy as np
import pytest
from _run_statistics import bootstrap, interquartile_mean, probability_of_improvement, share
from scipy import stats

RNG = np.random.default_rng(7)
RUNS = RNG.random((5, 2))
OTHERS = RNG.random((5, 2))


def test_interquartile_mean_by_hand() -> None:
    # 8 scores: two left out at each end, the mean of 2, 3, 4, 7 is 4.
    scores = np.array([[100.0, 2.0], [-50.0, 3.0], [4.0, 0.0], [7.0, 9.0]])
    assert interquartile_mean(scores) == 4.0


@pytest.mark.parametrize("shape", [(2, 1), (3, 1), (5, 2), (7, 3)])
def test_interquartile_mean_is_scipys_trimmed_mean(shape: tuple[int, int]) -> None:
    scores = RNG.normal(size=shape)
    assert interquartile_mean(scores) == pytest.approx(stats.trim_mean(scores, 0.25, axis=None))


def test_axes_before_runs_and_tasks_are_kept() -> None:
    stacked = np.stack([RUNS, OTHERS])
    assert interquartile_mean(stacked).tolist() == [interquartile_mean(RUNS), interquartile_mean(OTHERS)]
    assert probability_of_improvement(stacked, RUNS).shape == (2,)


def test_probability_of_improvement_by_hand() -> None:
    # Task 1: 2 beats 1 and ties with 2 (1.5 of 2), 0 beats neither: 1.5 of 4 pairs. Task 2: all four pairs won.
    mine, theirs = np.array([[2.0, 8.0], [0.0, 9.0]]), np.array([[1.0, 3.0], [2.0, 4.0]])
    assert probability_of_improvement(mine, theirs) == (1.5 / 4 + 1) / 2


def test_probability_of_improvement_is_mann_whitneys_u() -> None:
    mine, theirs = RUNS.round(1), OTHERS[:4].round(1)  # rounded, so that there are ties; of unlike length
    u = [stats.mannwhitneyu(mine[:, task], theirs[:, task]).statistic / 20 for task in range(2)]
    assert probability_of_improvement(mine, theirs) == pytest.approx(np.mean(u))


def test_an_algorithm_is_as_good_as_itself() -> None:
    assert probability_of_improvement(RUNS, RUNS) == 0.5


def test_share_is_the_performance_profile() -> None:
    scores, thresholds = np.array([[0.1, 0.4], [0.2, 0.8]]), np.array([0.0, 0.1, 0.4, 0.8])
    assert share(scores > thresholds[:, None, None]).tolist() == [1.0, 0.75, 0.25, 0.0]


def test_interval_is_that_of_all_resamples() -> None:
    """Five runs have 5^5 ordered resamples: the quantiles of all of them are the bootstrap's exact answer."""
    every = [RUNS[list(rows)].mean() for rows in itertools.product(range(5), repeat=5)]
    interval = bootstrap(lambda scores: scores.mean(axis=(-2, -1)), RUNS, resamples=40_000)
    assert interval.value == pytest.approx(RUNS.mean())
    assert [interval.low, interval.high] == pytest.approx(np.quantile(every, [0.025, 0.975]), abs=0.01)


def test_a_runs_scores_are_drawn_together() -> None:
    """Two tasks that always add up to 1 have a mean without spread; drawn apart, they would have one."""
    scores = np.stack([RUNS[:, 0], 1 - RUNS[:, 0]], axis=1)
    interval = bootstrap(lambda drawn: drawn.mean(axis=(-2, -1)), scores)
    assert [interval.low, interval.high] == pytest.approx([0.5, 0.5])


def test_the_same_seeds_are_drawn_from_both() -> None:
    """The second is better than the first by the same in every run, so the difference of the means has no spread."""
    interval = bootstrap(lambda a, b: (b - a).mean(axis=(-2, -1)), RUNS, RUNS + 0.1)
    assert [interval.low, interval.high] == pytest.approx([0.1, 0.1])


def test_same_seed_same_interval() -> None:
    first, again, other = (bootstrap(interquartile_mean, RUNS, resamples=200, seed=s).to_json() for s in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("arrays", [(RUNS[:1],), (RUNS, OTHERS[:4])])
def test_refuses_what_has_no_interval(arrays: tuple[np.ndarray, ...]) -> None:
    with pytest.raises(ValueError, match="two or more, the same number in each"):
        bootstrap(lambda *drawn: drawn[0].mean(axis=(-2, -1)), *arrays)
