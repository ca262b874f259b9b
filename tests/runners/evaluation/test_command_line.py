"""The command line end to end: generation, kill and resume, scoring, refusals."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import agents
from agents import SamplingParams
from runners.evaluation.command_line import main
from runners.sampling.environments import Environments
from runners.sampling.problems import evaluation_resets
from runners.sampling.rollout import SampleRequest
from runners.sampling.sampler import Sampler
from tests.runners.evaluation.seeded_agent import SeededAgent

ROOT = Path(__file__).resolve().parents[3]
SAMPLED = ["--n", "4", "--temperature", "1", "--k", "1", "2", "4", "--num-problems", "10", "--batch-size", "3"]


@pytest.fixture(autouse=True)
def seeded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("agents.registry._registered", {})
    agents.register("seeded", "tests.runners.evaluation.seeded_agent:SeededAgent")
    SeededAgent.made.clear()
    yield
    SeededAgent.made.clear()


def evaluate(folder: Path, *options: str, engine: str = "seeded") -> int:
    return main(["--engine", engine, "--output-dir", str(folder), *options])


def rows(folder: Path) -> list[dict[str, Any]]:
    """The samples without the time they took."""
    parsed = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "batch_seconds"} for row in parsed]


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def test_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(tmp_path, *SAMPLED, "--prompt", "chat-boxed") == 0
    out = capsys.readouterr().out
    assert (
        "10 problems of gsm8k_env:GSM8K-v0 {'split': 'test', 'dataset': 'builtin:1-2', 'instruction': 'boxed'} x 4, "
        in out
    )
    assert "problem 10/10" in out
    assert "maj@4" in out
    saved, samples = results(tmp_path), rows(tmp_path)
    assert len(samples) == 40
    assert set(samples[0]) == {
        "index", "sample", "question", "ground_truth", "completion", "num_tokens", "finish_reason", "reward", "correct",
        "num_turns", "num_steps", "batch", "truncated", "grades",
    }  # fmt: skip
    assert set(samples[0]["grades"]) == {"boxed", "strict", "flexible"}
    # The environment's reward and the flexible grade are one rule.
    assert [row["reward"] for row in samples] == [float(row["grades"]["flexible"]["correct"]) for row in samples]
    scores = saved["results"]["scores"]["flexible"]
    assert scores["accuracy"] == pytest.approx(sum(row["reward"] for row in samples) / 40)
    assert set(scores["pass_at_k"]) == {"1", "2", "4"}
    assert saved["evaluation"]["prompt_template"].startswith("{question} ")
    assert saved["evaluation"]["model_fingerprint"]
    assert saved["sessions"][0]["command"].startswith("python runners/evaluate.py --engine seeded")
    assert {"versions", "commit", "threads", "time"} <= set(saved["sessions"][0])


def test_the_problems_and_rewards_are_those_of_training_s_evaluation(tmp_path: Path) -> None:
    """The same completions as a Sampler of one's own gives, problem by problem."""
    evaluate(tmp_path, *SAMPLED)
    environments = Environments("gsm8k_env:GSM8K-v0", {"eval": {"split": "test", "dataset": "builtin:1-2"}})
    resets = [
        replace(reset, group_id=reset.options["index"])
        for reset in evaluation_resets(environments.num_problems("eval"), 10)
        if reset.options
    ]
    sampling = SamplingParams(n=4, temperature=1.0, max_tokens=512)
    request = SampleRequest(resets=resets, sampling=sampling, seed=0, env="eval")
    rollouts = Sampler(environments, SeededAgent()).sample(request).rollouts
    assert [(row["index"], row["completion"], row["reward"]) for row in rows(tmp_path)] == [
        (rollout.group_id, rollout.text, rollout.reward) for rollout in rollouts
    ]


def test_several_turns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--env", "gsm8k_env:GSM8KMultiTurn-v0", "--env-option", "split=test", "--dataset", "builtin:1"]
    assert evaluate(tmp_path, *options, *SAMPLED) == 0
    samples, saved = rows(tmp_path), results(tmp_path)
    assert {1, 3} <= {row["num_turns"] for row in samples} <= {1, 2, 3}
    assert all(row["completion"].count("[assistant]") == row["num_turns"] - 1 for row in samples)
    assert all(row["ground_truth"] in row["completion"] for row in samples if row["correct"])
    assert any(row["correct"] for row in samples)
    scores = saved["results"]["scores"]
    assert list(scores) == ["environment"]
    assert scores["environment"]["accuracy"] == pytest.approx(sum(row["correct"] for row in samples) / 40)
    assert scores["environment"]["pass_at_k"].keys() == {"1", "2", "4"} and not scores["environment"]["maj_at_k"]
    turns = sum(row["num_turns"] for row in samples) / 40
    assert f"{turns:.2f} turns" in capsys.readouterr().out
    assert main(["--score", str(tmp_path / "samples.jsonl")]) == 0
    assert results(tmp_path)["results"]["scores"]["environment"]["accuracy"] == scores["environment"]["accuracy"]


def test_an_environment_of_the_users_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is endless, says neither `correct` nor an answer, and cannot compute its rewards."""
    options = ["--env", "tests.runners.addition_env:Addition-v0", "--env-option", "digits=1", *SAMPLED]
    assert evaluate(tmp_path / "graded", *options) == 0
    samples, saved = rows(tmp_path / "graded"), results(tmp_path / "graded")["results"]
    assert saved["scores"] == {}
    assert saved["reward"]["value"] == pytest.approx(sum(row["reward"] for row in samples) / 40)
    assert 0 < saved["reward"]["value"] < 1
    assert len({row["question"] for row in samples}) > 5
    assert evaluate(tmp_path / "missing", *options, "--env-option", "reward=missing") == 0
    assert results(tmp_path / "missing")["results"]["reward"] is None
    assert "40 rewards are missing" in capsys.readouterr().out


def test_every_problem_has_a_seed_of_its_own(tmp_path: Path) -> None:
    evaluate(tmp_path / "first", *SAMPLED)
    evaluate(tmp_path / "second", *SAMPLED, "--seed", "1")
    assert len({seed for agent in SeededAgent.made for params in agent.calls for seed in params.seed}) == 20


@pytest.mark.parametrize("engine", ["seeded", "transformers"])
def test_the_size_of_the_batches_changes_no_completion(tmp_path: Path, engine: str) -> None:
    def completions(batch_size: str, *options: str) -> dict[tuple[int, int], str]:
        folder = tmp_path / batch_size
        settings = ["--max-tokens", "12", "--num-threads", "1"] if engine == "transformers" else []
        assert evaluate(folder, *SAMPLED, *settings, "--batch-size", batch_size, *options, engine=engine) == 0
        return {(row["index"], row["sample"]): row["completion"] for row in rows(folder)}

    whole = completions("10")
    assert len(whole) == 40
    assert completions("3") == whole
    # Other problems are evaluated beside them.
    more = completions("7", "--num-problems", "24")
    shared = whole.keys() & more.keys()
    assert shared
    assert {key: whole[key] for key in shared} == {key: more[key] for key in shared}


@pytest.mark.parametrize("calls", [1, 2, 3])
@pytest.mark.parametrize("damage", ["none", "half a line", "half a batch"])
def test_a_killed_run_resumes_to_the_same_completions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int, damage: str
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert evaluate(whole, *SAMPLED) == 0
    monkeypatch.setattr(SeededAgent, "max_calls", calls)
    assert evaluate(killed, *SAMPLED) == 130
    path = killed / "samples.jsonl"
    if damage == "half a line":
        path.write_text(path.read_text() + '{"index": 3, "sam')
    if damage == "half a batch":
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    monkeypatch.setattr(SeededAgent, "max_calls", None)
    assert evaluate(killed, *SAMPLED) == 0
    assert rows(killed) == rows(whole)
    redone = calls - (damage == "half a batch")
    assert len(SeededAgent.made[-1].calls) == 4 - redone
    assert len(results(killed)["sessions"]) == 2
    assert results(killed)["results"]["scores"] == results(whole)["results"]["scores"]


def test_a_finished_run_makes_no_agent(tmp_path: Path) -> None:
    evaluate(tmp_path, *SAMPLED)
    before = rows(tmp_path)
    SeededAgent.made.clear()
    assert evaluate(tmp_path, *SAMPLED) == 0
    assert not SeededAgent.made
    assert rows(tmp_path) == before


def test_sampled_completions_of_the_bundled_model_survive_a_kill(tmp_path: Path) -> None:
    options = ["--n", "2", "--temperature", "1", "--num-problems", "6", "--batch-size", "2", "--max-tokens", "12"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert evaluate(whole, *options, "--num-threads", "1", engine="transformers") == 0
    assert evaluate(killed, *options, "--num-threads", "1", engine="transformers") == 0
    path = killed / "samples.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:5]))
    assert evaluate(killed, *options, "--num-threads", "1", engine="transformers") == 0
    assert rows(killed) == rows(whole)
    assert len({row["completion"] for row in rows(whole)}) > 3


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (["--seed", "1"], "seed: 0 there, 1 now"),
        (["--temperature", "0.5"], "temperature: 1.0 there, 0.5 now"),
        (["--split", "train"], "split: 'test' there, 'train' now"),
        (["--dataset", "builtin:3"], "data_fingerprint: "),
        (["--prompt", "chat-none"], "prompt: 'chat-hash' there, 'chat-none' now"),
        (["--engine-option", "max_model_len=512"], "engine_options: "),
        (["--batch-size", "5"], "batch_size: 3 there, 5 now"),
    ],
)
def test_another_configuration_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], difference: str
) -> None:
    evaluate(tmp_path, *SAMPLED)
    before = rows(tmp_path)
    assert evaluate(tmp_path, *SAMPLED, *options) == 1
    assert difference in capsys.readouterr().err
    assert rows(tmp_path) == before


def test_another_model_under_the_same_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(tmp_path, *SAMPLED)
    monkeypatch.setattr("runners.evaluation.command_line.model_fingerprint", lambda name: "0" * 64)
    assert evaluate(tmp_path, *SAMPLED) == 1
    assert "model_fingerprint" in capsys.readouterr().err


@pytest.mark.parametrize("prompt", ["chat-hash", "fewshot-2", "fewshot-cot-2"])
def test_scoring_alone_equals_scoring_directly(tmp_path: Path, prompt: str) -> None:
    direct, parted = tmp_path / "direct", tmp_path / "parted"
    assert evaluate(direct, *SAMPLED, "--prompt", prompt) == 0
    assert evaluate(parted, *SAMPLED, "--prompt", prompt, "--generate-only") == 0
    assert not (parted / "results.json").exists()
    assert "grades" not in rows(parted)[0]
    SeededAgent.made.clear()
    assert main(["--score", str(parted / "samples.jsonl"), "--k", "1", "2", "4"]) == 0
    assert not SeededAgent.made
    assert rows(parted) == rows(direct)
    one, two = results(parted), results(direct)
    for timed in ("generation_seconds", "tokens_per_second"):
        one["results"].pop(timed), two["results"].pop(timed)
    assert one["results"] == two["results"]
    assert one["evaluation"] == two["evaluation"]


def test_scoring_elsewhere_leaves_the_source_alone(tmp_path: Path) -> None:
    evaluate(tmp_path / "a", *SAMPLED, "--generate-only")
    source = tmp_path / "a" / "samples.jsonl"
    before = source.read_bytes()
    assert main(["--score", str(source), "--output-dir", str(tmp_path / "b"), "--prompt", "chat-boxed"]) == 0
    assert source.read_bytes() == before
    assert set(rows(tmp_path / "b")[0]["grades"]) == {"boxed", "strict", "flexible"}


def test_few_shot_rewards_end_at_the_next_question(tmp_path: Path) -> None:
    evaluate(tmp_path, *SAMPLED, "--prompt", "fewshot-2")
    samples = rows(tmp_path)
    assert {params.stop for params in SeededAgent.made[0].calls} == {("Question:", "</s>", "<|im_end|>")}
    assert {row["finish_reason"] for row in samples} == {"stop"}
    assert not any("Question:" in row["completion"] for row in samples)
    assert [row["reward"] for row in samples] == [float(row["grades"]["flexible"]["correct"]) for row in samples]
    # After "no idea" come only "Question: 4 Q: 5", which no longer count.
    assert all(row["grades"]["flexible"]["extracted"] is None for row in samples if "no idea" in row["completion"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--n", "2"], "greedy completions are all alike"),
        (["--k", "0"], "at least 1"),
        (["--num-problems", "0"], "at least 1"),
        (["--batch-size", "0"], "at least 1"),
        (["--split", "tset"], "allowed: 'train', 'test'"),
        (["--dataset", "buildin"], "neither 'auto', 'builtin'"),
        (["--top-p", "2"], "must be in (0, 1]"),
        (["--engine-option", "max_model_len"], "expected NAME=VALUE"),
        (["--engine-option", "colour=red"], "has no option 'colour'"),
        (["--env", "Nowhere-v0"], "--env 'Nowhere-v0'"),
        (["--env", "nowhere.at.all:X-v0"], "--env 'nowhere.at.all:X-v0'"),
        (["--env-option", "colour=red"], "does not take one of {"),
        (["--env", "gsm8k_env:GSM8KMultiTurn-v0", "--prompt", "fewshot-5"], "prompts by name are for GSM8K-v0"),
        (["--prompt", "fewshot-5", "--engine-option", "max_model_len=100"], "the model's context is 100"),
        (["--generate-only", "--score", "samples.jsonl"], "exclude each other"),
        (["--score", "nowhere/samples.jsonl"], "There is no file"),
        (["--temperature", "1", "--n", "99999999"], "--n 99999999: it must be at least 1, and at most 1,048,576"),
        (["--num-problems", "999999999999"], "--num-problems 999999999999: it must be at least 1, and at most"),
        (["--num-threads", "0"], "--num-threads 0: it must be at least 1"),
        (["--seed", "-1"], "--seed -1: it must be at least 0"),
        (["--prompt", ""], "--prompt '': leave it out"),
        (["--model", ""], "No model ''"),
        (["--dataset", "builtin:1", "--env-option", "dataset=builtin:2"], "--dataset builtin:1 and --env-option"),
        (["--split", "train", "--env-option", "split=test"], "--split train and --env-option split=test: give one"),
        (["--engine-option", "model=x"], "give it by --model"),
        (["--env-option", "id=x"], "'id' is no option of an environment"),
        (["--env", "CartPole-v1"], "not (a text, a dictionary)"),
    ],
)
def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    assert evaluate(tmp_path / "run", "--num-problems", "4", *options) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "run" / "samples.jsonl").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is not what evaluate.py wrote"),
        ('{"evaluation": 3}', "is not what evaluate.py wrote"),
        ('{"evaluation": {"env_options": 3}}', "is not what evaluate.py wrote"),
        ('{"evaluation": {"stop": 3}}', "does not say how to grade (stop, grading): give --prompt"),
    ],
)
def test_a_configuration_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    evaluate(tmp_path, "--num-problems", "2")
    capsys.readouterr()
    (tmp_path / "config.json").write_text(text)
    assert main(["--score", str(tmp_path / "samples.jsonl")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "config.json") in line and message in line


def test_an_output_dir_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert evaluate(tmp_path / "file", "--num-problems", "2") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and str(tmp_path / "file") in line


def test_an_option_that_is_none_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--n=x", "--output-dir="):
        with pytest.raises(SystemExit):
            main([option])
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: argument {option.partition('=')[0]}") and "--help" in line


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: expected an object"),
        ('{"index": "0"}', "line 2: missing or of another type: index (int)"),
        ("[" * 99_999, "line 2: not JSON"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str) -> None:
    evaluate(tmp_path, *SAMPLED)
    path = tmp_path / "samples.jsonl"
    first, _, *rest = path.read_text().splitlines()
    path.write_text("\n".join([first, line, *rest]) + "\n")
    assert main(["--score", str(path)]) == 1
    assert message in capsys.readouterr().err


def test_script_runs_from_anywhere_and_scores_without_torch(tmp_path: Path) -> None:
    evaluate(tmp_path, *SAMPLED)
    script = (
        "import runpy, sys; sys.argv = ['evaluate.py', *sys.argv[1:]]\n"
        f"try: runpy.run_path({str(ROOT / 'runners' / 'evaluate.py')!r}, run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print({'torch', 'ray', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--score", str(tmp_path / "samples.jsonl")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "flexible" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"
