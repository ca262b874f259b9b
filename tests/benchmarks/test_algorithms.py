"""The command line end to end: runs that are there are kept, the missing one is made, the report has both."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from _algorithm_runs import Protocol, RunFolder, RunKey

from tests.benchmarks.records import record

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = Protocol(token_budget=300, num_prompts=2, group_size=2, minibatch_size=2, eval_problems=2)
OPTIONS = ["--token-budget=300", "--num-prompts=2", "--group-size=2", "--minibatch-size=2", "--eval-problems=2"]


def command(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    places = [f"--runs-dir={folder / 'runs'}", f"--results-dir={folder}", f"--picture={folder / 'picture.png'}"]
    line = [sys.executable, str(ROOT / "benchmarks" / "algorithms.py"), "--algorithms", "rloo", *OPTIONS, *places]
    return subprocess.run([*line, *options], capture_output=True, text=True, cwd=folder)


def test_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs", PROTOCOL)
    kept = RunKey(algorithm="rloo", lr=1e-4, seed=0).name
    folder.write(kept, record("rloo", sampled=[0.5, 0.25], protocol=asdict(PROTOCOL)))
    before = (folder.path / f"{kept}.json").stat().st_mtime_ns

    one = command(tmp_path, "--seeds=1", "--report-only")
    assert one.returncode != 0
    assert "two finished seeds" in one.stderr

    done = command(tmp_path, "--seeds=2", "--max-concurrent=1")
    assert done.returncode == 0, done.stderr
    assert "1 of 2 runs to do, 1 at a time" in done.stdout
    assert "1/1 rloo-lr0.0001-seed1: sampled" in done.stdout
    assert (folder.path / f"{kept}.json").stat().st_mtime_ns == before
    figures = json.loads((tmp_path / "algorithms.json").read_text())["figures"]
    assert figures["protocol"] == asdict(PROTOCOL)
    assert figures["algorithms"]["rloo"]["runs"]["0"]["sampled"] == [0.5, 0.25]
    assert figures["algorithms"]["rloo"]["seeds"] == [0, 1]
    assert (tmp_path / "picture.png").exists()

    again = command(tmp_path, "--seeds=2")
    assert again.returncode == 0, again.stderr
    assert "to do" not in again.stdout
    assert again.stdout.splitlines()[-2] == done.stdout.splitlines()[-2]  # the table's row

    other = command(tmp_path, "--seeds=2", "--group-size=4")
    assert other.returncode == 1
    assert "group_size is 2, now 4" in other.stderr
