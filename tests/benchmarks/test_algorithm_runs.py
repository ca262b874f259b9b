"""One run of the comparison: its budget, its pairing by seed, its file."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import ray
import torch
from _algorithm_runs import HeldOutProblems, Protocol, RunFolder, RunKey, train_and_score

import agents
from runners.objectives.algorithms import ALGORITHMS
from runners.rllib.grpo import GRPO
from runners.sampling.problems import evaluation_resets
from tests.benchmarks.records import record

pytestmark = pytest.mark.slow

SMALL = Protocol(
    token_budget=400, num_prompts=2, group_size=2, minibatch_size=2, max_tokens=48, eval_problems=4, curve_points=2
)
KEY = RunKey(algorithm="grpo", lr=1e-4, seed=3)


@pytest.fixture(scope="module", autouse=True)
def ray_of_this_module() -> Iterator[None]:
    torch.set_num_threads(1)
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def finished(ray_of_this_module: None) -> dict[str, Any]:
    return train_and_score(KEY, SMALL)


def without_times(run: dict[str, Any]) -> dict[str, Any]:
    log = {name: values for name, values in run["log"].items() if name != "seconds"}
    return {**run, "log": log, "train_s": None}


def test_training_ends_with_the_step_that_spends_the_budget(finished: dict[str, Any]) -> None:
    spent = finished["log"]["tokens"]
    assert spent[-1] == finished["tokens"] >= SMALL.token_budget
    assert all(tokens < SMALL.token_budget for tokens in spent[:-1])
    assert finished["steps"] == len(spent) > 1
    assert finished["diverged"] is None


def test_curve_ends_at_the_final_score(finished: dict[str, Any]) -> None:
    curve = finished["curve"]
    assert SMALL.token_budget / 2 <= curve["tokens"][0] < SMALL.token_budget
    assert curve["tokens"][-1] == finished["tokens"]
    assert curve["sampled"][-1] == finished["scores"]["sampled"]
    # Four problems of each level, four completions of each: sixteenths, and quarters for the greedy one.
    assert all(score * 16 == round(score * 16) for score in finished["scores"]["sampled"])
    assert all(score * 4 == round(score * 4) for score in finished["scores"]["greedy"])


def test_a_run_repeated_is_the_same_run(finished: dict[str, Any]) -> None:
    assert without_times(train_and_score(KEY, SMALL)) == without_times(finished)


def test_a_seed_gives_every_algorithm_the_same_first_step(finished: dict[str, Any]) -> None:
    first = replace(SMALL, token_budget=1)
    paired = train_and_score(replace(KEY, algorithm="reinforce"), first)["log"]
    other = train_and_score(replace(KEY, seed=4), first)["log"]
    for name in ("tokens", "reward_mean"):
        assert paired[name][0] == finished["log"][name][0]
    assert other["tokens"][0] != finished["log"]["tokens"][0]


def test_a_run_that_diverges_is_scored(monkeypatch: pytest.MonkeyPatch, finished: dict[str, Any]) -> None:
    train = GRPO.train
    steps = iter((train, train))

    def breaks_down(algo: GRPO) -> Any:
        step = next(steps, None)
        if step is None:
            raise FloatingPointError("loss nan")
        return step(algo)

    monkeypatch.setattr(GRPO, "train", breaks_down)
    run = train_and_score(KEY, replace(SMALL, token_budget=10_000))
    assert (run["diverged"], run["steps"]) == ("loss nan", 2)
    assert run["tokens"] == finished["log"]["tokens"][1]
    assert run["curve"]["tokens"] == [10_000]  # it stays where it is
    assert len(run["scores"]["sampled"]) == 2


def test_thrown_away_completions_count(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    train = GRPO.train

    def noting(algo: GRPO) -> Any:
        results.append(train(algo)["rollouts"])
        return {"rollouts": results[-1]}

    monkeypatch.setattr(GRPO, "train", noting)
    run = train_and_score(replace(KEY, algorithm="dapo"), SMALL)
    assert run["tokens"] == sum(r["num_sampled_completion_tokens"] for r in results)
    assert run["tokens"] > sum(r["num_completion_tokens"] for r in results)  # something was thrown away


def test_what_the_protocol_holds_equal_is_not_the_algorithms_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(ALGORITHMS["grpo"], settings={"group_size": 64})
    monkeypatch.setitem(ALGORITHMS, "greedy_grpo", spec)
    with pytest.raises(ValueError, match=r"'greedy_grpo' sets \['group_size'\]"):
        train_and_score(replace(KEY, algorithm="greedy_grpo"), SMALL)


def test_held_out_problems_by_level() -> None:
    """The scripted agent always answers alike, so a level's share is that of the problems with this answer."""
    held_out = HeldOutProblems(replace(SMALL, eval_problems=40))
    truths = []
    for level in (1, 2):
        env = gym.make("gsm8k_env:GSM8K-v0", split="test", dataset=f"builtin:{level}")
        resets = evaluation_resets(env.get_wrapper_attr("num_problems"), 40)
        truths.append([env.reset(options=reset.options)[1]["ground_truth"] for reset in resets])
    answer = truths[0][0]
    agent = agents.make("scripted", script=lambda prompt, sample: f"#### {answer}")
    shares = [level.count(answer) / 40 for level in truths]
    assert held_out.accuracy(agent, n=2, temperature=1.0) == shares
    assert shares[0] > 0


def test_run_folder(tmp_path: Path) -> None:
    folder, kept = RunFolder(tmp_path / "runs", SMALL), record(sampled=[0.5, 0.25], protocol={})
    assert folder.read(KEY.name) is None
    kept["protocol"] = {name: getattr(SMALL, name) for name in SMALL.__slots__}
    folder.write(KEY.name, kept)
    assert folder.read(KEY.name) == kept
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["grpo-lr0.0001-seed3.json"]
    other = RunFolder(tmp_path / "runs", replace(SMALL, token_budget=500))
    with pytest.raises(ValueError, match=r"token_budget is 400, now 500.*--runs-dir"):
        other.read(KEY.name)
