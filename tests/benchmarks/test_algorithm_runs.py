"""One run of the comparison: its budget, its pairing by seed, what an entry says, its file."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import entries.ours
import gymnasium as gym
import numpy as np
import pytest
from _algorithm_runs import RunFolder, RunKey, train_and_score
from _counted_env import COUNTED
from _entry_process import load_entry
from _protocol import TASKS, Protocol
from _scores import HeldOutProblems
from _task import Task
from entries import OTHERS, OURS, place_of

import agents
from agents.models import resolve_model
from runners.objectives.algorithms import ALGORITHMS
from runners.sampling.problems import evaluation_resets
from tests.benchmarks.records import record

SMALL = Protocol(
    token_budget=400, num_prompts=2, group_size=2, minibatch_size=2, max_tokens=48, eval_problems=4, curve_points=2
)
KEY = RunKey(algorithm="grpo", lr=1e-4, seed=3)


@pytest.fixture(scope="module")
def finished() -> dict[str, Any]:
    return train_and_score(KEY, SMALL)


@pytest.mark.slow
def test_training_ends_with_the_step_that_spends_the_budget(finished: dict[str, Any]) -> None:
    spent = finished["log"]["tokens"]
    assert spent[-1] == finished["tokens"] >= SMALL.token_budget
    assert all(tokens < SMALL.token_budget for tokens in spent[:-1])
    assert finished["steps"] == len(spent) > 1
    assert finished["tokens_counted"] and finished["env_steps"] == 4 * finished["steps"]
    assert (finished["diverged"], finished["labels"]) == (None, "rewards")
    assert finished["cpu_s"] > 0


@pytest.mark.slow
def test_curve_ends_at_the_final_score(finished: dict[str, Any]) -> None:
    curve = finished["curve"]
    assert SMALL.token_budget / 2 <= curve["tokens"][0] < SMALL.token_budget
    assert curve["tokens"][-1] == finished["tokens"]
    assert curve["sampled"][-1] == finished["scores"]["sampled"]
    # Four problems of each level, two completions of each: eighths, and quarters for the greedy one.
    assert all(score * 8 == round(score * 8) for score in finished["scores"]["sampled"])
    assert all(score * 4 == round(score * 4) for score in finished["scores"]["greedy"])
    assert 0 < finished["scores"]["entropy"] < 1


@pytest.mark.slow
def test_an_entry_of_another_kind() -> None:
    run = train_and_score(RunKey(algorithm="expert-iteration", lr=1e-3, seed=0), replace(SMALL, token_budget=300))
    assert run["tokens"] >= 300
    assert (run["tokens_counted"], run["labels"], run["steps"]) == (True, "rewards", None)
    assert len(run["scores"]["sampled"]) == 2


@pytest.mark.slow
def test_an_entry_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_entry.py").write_text(
        "def train(task):\n    raise RuntimeError(f'seed {task.seed} is no good')"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match=r"exit code 1:[\s\S]*seed 3 is no good"):
        train_and_score(replace(KEY, algorithm="broken_entry:train"), SMALL)


@pytest.mark.slow
def test_an_entry_that_returns_no_policy_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty_entry.py").write_text("def train(task):\n    return task.folder")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match="which is no Hugging Face folder: config"):
        train_and_score(replace(KEY, algorithm="empty_entry:train"), SMALL)


class Algorithm:
    """Trains nothing: each step is an answer in the environment."""

    def __init__(self, task: Task, fails_at: int | None = None) -> None:
        self.env, self.left = gym.make(task.env, **task.env_options), fails_at
        self.saved: list[Path] = []

    def train(self) -> dict[str, Any]:
        if self.left == 0:
            raise FloatingPointError("loss nan")
        self.left = None if self.left is None else self.left - 1
        self.env.reset(seed=0)
        self.env.step("one two three #### 4")
        return {"rollouts": dict.fromkeys(entries.ours._COLUMNS, 0.0)}

    def save_policy(self, folder: Path) -> None:
        self.saved.append(folder)

    def stop(self) -> None:
        pass


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[Task, Algorithm]]:
    """Runs one of our entries with an algorithm that trains nothing."""

    def run(fails_at: int | None = None, budget: int = 300) -> tuple[Task, Algorithm]:
        task = replace(SMALL, token_budget=budget).task_of(0, 1e-4, tmp_path)
        algorithm = Algorithm(task, fails_at)
        monkeypatch.setattr("runners.rllib.grpo.GRPOConfig.build_algo", lambda config: algorithm)
        load_entry(place_of("rloo"))(task)
        return task, algorithm

    return run


def test_a_policy_is_saved_at_the_points_of_the_curve_and_at_the_end(ours: Callable[..., Any]) -> None:
    task, algorithm = ours(budget=30)
    assert task.tokens() >= 30
    each = task.tokens() // task.env_steps()
    at = -(-15 // each) * each  # the first step behind half of the budget
    assert list(task.points()) == [at]
    assert algorithm.saved == [task.points()[at], task.policy]
    assert task.reported()["steps"] == task.env_steps()


def test_a_run_that_diverges_is_scored(ours: Callable[..., Any]) -> None:
    task, algorithm = ours(fails_at=2)
    assert task.reported()["diverged"] == "loss nan" and task.reported()["steps"] == 2
    assert algorithm.saved == [task.policy]


def test_what_the_protocol_holds_equal_is_not_the_algorithms_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = replace(ALGORITHMS["grpo"], settings={"group_size": 64})
    monkeypatch.setitem(ALGORITHMS, "greedy_grpo", spec)
    with pytest.raises(ValueError, match=r"'greedy_grpo' sets \['group_size'\]"):
        entries.ours.greedy_grpo(SMALL.task_of(0, 1e-4, tmp_path))


@pytest.mark.parametrize("name", ["nothing", "a:b:c", ":b", "a:"])
def test_an_unknown_entry_is_named(name: str) -> None:
    with pytest.raises(
        ValueError, match=f"No entry is called '{name}'. There are grpo, .*one of your own is module:fun"
    ):
        place_of(name)


@pytest.mark.parametrize(
    ("place", "message"),
    [("no_such_module:train", "cannot be imported: No module named"), ("json:train", "json has no function 'train'")],
)
def test_an_entry_that_is_not_there_is_named(place: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_entry(place)


def test_every_shipped_entry_is_there() -> None:
    for name in [*OURS, *OTHERS]:
        assert callable(load_entry(place_of(name))), name


def test_tokens_and_steps_are_counted(tmp_path: Path) -> None:
    task = SMALL.task_of(0, 1e-4, tmp_path)
    assert (task.tokens(), task.env_steps()) == (0, 0)
    agent = agents.make("transformers", model="tiny")
    long, short = agent.tokenizer("12 34 " * 60).input_ids, agent.tokenizer("#### 12").input_ids
    env = gym.make(task.env, **task.env_options)
    env.reset(seed=0)
    env.step("#### 12")
    assert (task.tokens(), task.env_steps()) == (len(short) + 1, 1)  # and the end token
    envs = gym.make_vec(task.env, num_envs=2, **task.env_options)
    assert envs.num_problems == env.get_wrapper_attr("num_problems")
    envs.reset(options={"index": [0, 1]})
    envs.step(["#### 12", "12 34 " * 60])
    assert len(long) > SMALL.max_tokens
    assert (task.tokens(), task.env_steps()) == (2 * len(short) + 2 + SMALL.max_tokens, 3)


def test_tokens_are_counted_one_by_one(tmp_path: Path) -> None:
    task = SMALL.task_of(0, 1e-4, tmp_path)
    env_id, options = task.token_env(observation="dict")
    env = gym.make(env_id, **options)
    env.reset(seed=0)
    for action in (5, 6):
        env.step(np.int64(action))
    assert (env_id, task.tokens(), task.env_steps()) == (COUNTED, 2, 2)


def test_a_task_travels_to_another_process(tmp_path: Path) -> None:
    task = SMALL.task_of(5, 1e-4, tmp_path)
    assert Task.read(task.write()) == task
    assert (task.model, task.curve) == (resolve_model("tiny"), (200, 400))


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_poses_problems_and_has_others_held_out(name: str, tmp_path: Path) -> None:
    protocol = replace(SMALL, task=name)
    task = protocol.task_of(0, 1e-4, tmp_path)
    env = gym.make(task.env, **task.env_options)
    steps = {env.reset(options={"index": index})[1]["num_steps"] for index in range(20)}
    assert steps <= set(TASKS[name].levels)
    agent = agents.make("scripted", script=lambda prompt, sample: "#### 7")
    assert len(HeldOutProblems(protocol).accuracy(agent, n=1, temperature=0.0)) == len(TASKS[name].levels)


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
