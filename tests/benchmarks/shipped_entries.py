"""Every shipped entry trains; a run repeated is the same run. Minutes: `.ci/long` runs it."""

from dataclasses import replace
from typing import Any

import pytest
from _algorithm_runs import RunKey, train_and_score
from entries import OTHERS

from tests.benchmarks.test_algorithm_runs import KEY, SMALL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def finished() -> dict[str, Any]:
    return train_and_score(KEY, SMALL)


def without_times(run: dict[str, Any]) -> dict[str, Any]:
    return {**run, "train_s": None, "cpu_s": None}


def test_a_run_repeated_is_the_same_run(finished: dict[str, Any]) -> None:
    assert without_times(train_and_score(KEY, SMALL)) == without_times(finished)


def test_a_seed_gives_every_algorithm_the_same_first_step(finished: dict[str, Any]) -> None:
    first = replace(SMALL, token_budget=1)
    paired = train_and_score(replace(KEY, algorithm="reinforce"), first)["log"]
    for name in ("tokens", "reward_mean"):
        assert paired[name][0] == finished["log"][name][0]


@pytest.mark.parametrize("name", sorted(OTHERS.keys() - {"expert-iteration"}))
def test_the_other_entries(name: str) -> None:
    run = train_and_score(RunKey(algorithm=name, lr=1e-3, seed=0), replace(SMALL, token_budget=300))
    assert run["tokens"] >= 300
    assert (run["tokens_counted"], run["labels"]) == ((False, "solutions") if name == "sft" else (True, "rewards"))
    assert len(run["scores"]["sampled"]) == 2
