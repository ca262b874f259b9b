"""The command line: runs that are there are kept, missing ones are made, the report has both."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import ray
from _algorithm_runs import Protocol, RunFolder, RunKey
from algorithms import main

from tests.benchmarks.records import record

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = Protocol(token_budget=300, num_prompts=2, group_size=2, minibatch_size=2, eval_problems=2)
OPTIONS = ["--token-budget=300", "--num-prompts=2", "--group-size=2", "--minibatch-size=2", "--eval-problems=2"]
SEED_0, SEED_1 = (RunKey(algorithm="rloo", lr=1e-4, seed=seed) for seed in (0, 1))


@pytest.fixture(scope="module")
def with_ray() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        # What a script has by the folder it stands in.
        patch.setenv("PYTHONPATH", f"{ROOT / 'benchmarks'}:{ROOT}")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_AIR_NEW_OUTPUT", "0")
        ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
        yield
        ray.shutdown()


def run(folder: Path, *options: str) -> int:
    places = [f"--runs-dir={folder / 'runs'}", f"--results-dir={folder}", f"--picture={folder / 'picture.png'}"]
    return main(["--algorithms=rloo", "--lr=1e-4", *OPTIONS, *places, *options])


def store(folder: Path, *keys: RunKey) -> RunFolder:
    runs = RunFolder(folder / "runs", PROTOCOL)
    for key in keys:
        made = record(key.algorithm, lr=key.lr, seed=key.seed, sampled=[0.5, 0.25], protocol=asdict(PROTOCOL))
        runs.write(key.name, made)
    return runs


@pytest.mark.slow
@pytest.mark.usefixtures("with_ray")
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
@pytest.mark.usefixtures("with_ray")
def test_a_run_that_fails_is_no_interrupt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="two finished seeds"):
        run(tmp_path, "--seeds=1", "--minibatch-size=3")
    assert "minibatch_size=3, but it must be" in capsys.readouterr().err
    assert [path.stem for path in (tmp_path / "runs").iterdir()] == ["start"]


def test_report_only_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(tmp_path, SEED_0, SEED_1)
    assert run(tmp_path, "--seeds=3", "--report-only") == 0
    out = capsys.readouterr().out
    assert "to do" not in out
    assert "| rloo | 2 | 0.375 [0.375, 0.375] | 0.475 [0.475, 0.475] | - | 1,000 | 4 | 2 |" in out


def test_one_seed_is_no_report(tmp_path: Path) -> None:
    store(tmp_path, SEED_0)
    with pytest.raises(SystemExit, match="two finished seeds"):
        run(tmp_path, "--seeds=2", "--report-only")


def test_runs_of_another_protocol_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(tmp_path, SEED_0)
    assert run(tmp_path, "--report-only", "--group-size=4") == 1
    assert "group_size is 2, now 4" in capsys.readouterr().err
