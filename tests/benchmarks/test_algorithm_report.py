"""From records to figures and the table, by hand."""

from pathlib import Path

import pytest
from _algorithm_plot import plot
from _algorithm_report import algorithm_figures, best_lr, by_score, group_by_algorithm, table
from _algorithm_runs import RunKey
from _protocol import Protocol

from tests.benchmarks.records import record

PROTOCOL = Protocol(token_budget=1000, curve_points=4)
START = {"sampled": [0.2, 0.0], "greedy": [0.3, 0.1]}
RUNS = {
    "grpo": [record(sampled=[0.5, 0.3]), record(seed=1, sampled=[0.6, 0.4])],
    "rloo": [record("rloo", sampled=[0.7, 0.3], diverged="nan"), record("rloo", seed=2, sampled=[0.9, 0.5])],
    "gspo": [record("gspo", sampled=[0.4, 0.2]), record("gspo", seed=1, sampled=[0.6, 0.3])],
}


def test_scores_and_work() -> None:
    row = algorithm_figures(RUNS, START, PROTOCOL)["grpo"]
    assert row["sampled"]["value"] == pytest.approx(0.45)  # of 0.3, 0.4, 0.5, 0.6 the middle two
    assert row["greedy"]["value"] == pytest.approx(0.55)
    assert row["sampled_by_level"] == pytest.approx({"1": 0.55, "2": 0.35})
    assert (row["tokens"], row["steps"], row["train_s"], row["seeds"]) == (1000, 4, 2.0, [0, 1])
    assert row["runs"]["1"]["sampled"] == [0.6, 0.4]


def test_a_curve_starts_untrained_and_runs_straight_between_evaluations() -> None:
    runs = {"grpo": [record(seed=seed, sampled=[0.5, 0.3]) for seed in (0, 1)]}  # equal runs: no spread
    curve = algorithm_figures(runs, START, PROTOCOL)["grpo"]["curve"]
    assert curve["tokens"] == [0, 250, 500, 750, 1000]
    # Level means at 0, 500, 1000 tokens: 0.1, 0.2, 0.4; in between halfway.
    assert curve["value"] == pytest.approx([0.1, 0.15, 0.2, 0.3, 0.4])
    assert curve["low"] == pytest.approx(curve["value"])


def test_better_than_the_baseline_counts_pairs_of_shared_seeds() -> None:
    figures = algorithm_figures(RUNS, START, PROTOCOL)
    assert figures["grpo"]["better_than_baseline"] is None
    assert figures["rloo"]["better_than_baseline"] is None  # one seed in common
    # Level 1: 0.4 beats none, 0.6 beats 0.5 and ties with 0.6: 1.5 of 4. Level 2: 0.3 ties with 0.3: 0.5 of 4.
    assert figures["gspo"]["better_than_baseline"]["value"] == pytest.approx((1.5 + 0.5) / 8)


def test_profile_and_divergence() -> None:
    row = algorithm_figures(RUNS, START, PROTOCOL)["rloo"]
    assert [row["profile"]["value"][tau] for tau in (0, 45, 80, 100)] == [1.0, 0.75, 0.25, 0.0]
    assert row["diverged"] == {"0": "nan"}


def test_table_and_order() -> None:
    figures = algorithm_figures(RUNS, START, PROTOCOL)
    assert [name for name, _ in by_score(figures)] == ["rloo", "grpo", "gspo"]
    rows = [line.split(" | ") for line in table(figures).splitlines()[2:]]
    assert [row[0] for row in rows] == ["| rloo", "| grpo", "| gspo"]
    assert rows[1][2].startswith("0.450 [")
    assert [row[1] for row in rows] == ["2 (1 diverged)", "2", "2"]
    assert [row[4].split(" ")[0] for row in rows] == ["-", "-", "0.25"]
    assert rows[0][8:] == ["rewards", "1,000", "4", "-", "2", "- |"]


def test_area_and_fall() -> None:
    """Each 250 tokens 0.2, 0.4, 0.6, 0.5, 0.4 on the one level and 0, 0.2, 0.4, 0.3, 0.2 on the other."""
    curve = {"tokens": [500, 1000], "sampled": [[0.6, 0.4], [0.4, 0.2]]}
    runs = {"grpo": [record(seed=seed, sampled=[0.4, 0.2], curve=curve) for seed in (0, 1)]}
    row = algorithm_figures(runs, START, PROTOCOL)["grpo"]
    assert row["area"]["value"] == pytest.approx((0.4 + 0.5 + 0.2 + 0.3) / 4)
    assert row["fall"]["value"] == pytest.approx(0.2)


def test_what_a_run_does_not_say_is_no_number() -> None:
    runs = {"sft": [record("sft", seed=seed, sampled=[0.4, 0.2], tokens_counted=False) for seed in (0, 1)]}
    runs["sft"][0]["scores"]["entropy"] = 0.5
    row = algorithm_figures(runs, START, PROTOCOL)["sft"]
    assert (row["entropy"], row["cpu_s"], row["tokens"]) == (None, None, 1000)
    assert "| 1,000 (its own count) |" in table({"sft": row})


def test_picture(tmp_path: Path) -> None:
    plot(algorithm_figures(RUNS, START, PROTOCOL), subtitle="three algorithms", path=tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_best_learning_rate() -> None:
    scores = {1e-4: ([0.2, 0.2], [0.6, 0.6]), 3e-4: ([0.5, 0.5], [0.5, 0.5]), 1e-3: ([0.4, 0.6], [0.5, 0.5])}
    records = [
        record(lr=lr, seed=seed, sampled=sampled)
        for lr, seeds in reversed(scores.items())
        for seed, sampled in enumerate(seeds)
    ]
    assert best_lr(records) == 3e-4  # 0.4, 0.5, 0.5: the smaller of the two best


def test_a_rate_that_diverged_is_not_chosen() -> None:
    wild, calm = record(lr=1e-3, sampled=[0.9, 0.9], diverged="nan"), record(sampled=[0.5, 0.5])
    assert best_lr([wild, calm]) == 1e-4
    assert best_lr([wild, {**calm, "diverged": "nan"}]) == 1e-3


def test_unfinished_runs_are_left_out() -> None:
    keys = [RunKey(algorithm=name, lr=1e-4, seed=seed) for seed in (0, 1) for name in ("grpo", "rloo")]
    records = {key: record(key.algorithm, seed=key.seed, sampled=[0.5, 0.5]) for key in keys[:3]}
    groups = group_by_algorithm(keys, records)
    assert {name: [r["key"]["seed"] for r in rows] for name, rows in groups.items()} == {"grpo": [0, 1], "rloo": [0]}
