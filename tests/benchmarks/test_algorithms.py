"""The command line: runs that are there are kept, missing ones are made, the report has both."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from _algorithm_runs import RunFolder, RunKey
from _protocol import Protocol
from algorithms import main

from tests.benchmarks.records import record

PROTOCOL = Protocol(token_budget=300, num_prompts=2, group_size=2, minibatch_size=2, eval_problems=2)
OPTIONS = ["--token-budget=300", "--num-prompts=2", "--group-size=2", "--minibatch-size=2", "--eval-problems=2"]
SEED_0, SEED_1 = (RunKey(algorithm="rloo", lr=1e-4, seed=seed) for seed in (0, 1))


def run(folder: Path, *options: str) -> int:
    places = [f"--runs-dir={folder / 'runs'}", f"--results-dir={folder}", f"--picture={folder / 'picture.png'}"]
    return main(["--algorithms=rloo", "--lr=1e-4", *OPTIONS, *places, *options])


def store(folder: Path, *keys: RunKey) -> RunFolder:
    runs = RunFolder(folder / "runs" / "mixed", PROTOCOL)
    for key in keys:
        made = record(key.algorithm, lr=key.lr, seed=key.seed, sampled=[0.5, 0.25], protocol=asdict(PROTOCOL))
        runs.write(key.name, made)
    return runs


@pytest.mark.slow
def test_goes_on_where_it_was_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = store(tmp_path, SEED_0)
    kept = (runs.path / f"{SEED_0.name}.json").stat().st_mtime_ns
    assert run(tmp_path, "--seeds=2", "--max-concurrent=1") == 0
    out = capsys.readouterr().out
    assert "1 of 2 runs to do, 1 at a time" in out
    assert "1/1 rloo-lr0.0001-seed1: sampled" in out
    assert (runs.path / f"{SEED_0.name}.json").stat().st_mtime_ns == kept
    figures = json.loads((tmp_path / "algorithms.json").read_text())["figures"]
    assert figures["protocol"] == asdict(PROTOCOL)
    assert figures["algorithms"]["rloo"]["seeds"] == [0, 1]
    assert figures["algorithms"]["rloo"]["runs"]["0"]["sampled"] == [0.5, 0.25]
    assert (tmp_path / "picture.png").exists()


@pytest.mark.slow
def test_a_run_that_fails_is_no_interrupt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="two finished seeds"):
        run(tmp_path, "--seeds=1", "--minibatch-size=3")
    assert "minibatch_size=3, but it must be" in capsys.readouterr().err
    assert [path.stem for path in (tmp_path / "runs/mixed").iterdir()] == ["start"]


def test_report_only_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(tmp_path, SEED_0, SEED_1)
    assert run(tmp_path, "--seeds=3", "--report-only") == 0
    out = capsys.readouterr().out
    assert "to do" not in out
    scores = "0.375 [0.375, 0.375] | 0.475 [0.475, 0.475] | -"
    assert f"| rloo | 2 | {scores} | 0.148 | 0.045 | - | rewards | 1,000 | 4 | - | 2 | - |" in out


def test_one_seed_is_no_report(tmp_path: Path) -> None:
    store(tmp_path, SEED_0)
    with pytest.raises(SystemExit, match="two finished seeds"):
        run(tmp_path, "--seeds=2", "--report-only")


def test_runs_of_another_protocol_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(tmp_path, SEED_0)
    assert run(tmp_path, "--report-only", "--group-size=4") == 1
    assert "group_size is 2, now 4" in capsys.readouterr().err


def test_an_entry_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, message in (("rlo", "No entry is called 'rlo'"), ("no_module:train", "cannot be imported")):
        assert main(["--entry", name, f"--runs-dir={tmp_path}"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert list(tmp_path.iterdir()) == []
