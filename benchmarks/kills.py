"""A process of a run is killed (kill -9) at a random instant: does the run go on, or resume, to the same end?

    python benchmarks/kills.py                                # 12 kills of each kind, hours on two cores
    python benchmarks/kills.py --cases driver "second node" --kills 2
    python benchmarks/kills.py --python VLLM_VENV/bin/python --cases "owned vLLM engine"

For each kind of process one run is left alone. Then, 12 times, the same run loses such a process at an instant that is
uniform over its steps (seeded: a step, and a share of the time that the step before took). A run that ends is resumed
by the command that it prints. Each kill is a file in results/kills_runs/ and is not repeated: the same command goes on.
The engine's case needs its environment, and is left out unless it is named.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from _kill_cases import CASES, Case
from _killed_run import Command, comparable
from _results import RESULTS, write_results

from runners.presets.loading import load_preset
from runners.replaying.dumps import Dump
from runners.support.atomic import replacing
from tests.launch.nodes import Nodes

_RUNS = RESULTS / "kills_runs"
_STEPS = 5
_LEFT_S = 30.0
_FIRST_STEP_S = 1.0
_TOO_LATE = 0.2  # steps
_OUTPUT = 4000  # characters
_PHASES = ("sample_s", "update_s", "sync_s")
_OPTIONS = (
    f"--steps {_STEPS} --eval-interval 0 --eval-problems 4 --checkpoint-interval 1 --num-threads 1 --name run "
    "--set num_prompts=2 --set group_size=4 --set minibatch_size=8 --set max_tokens=24"
).split()


def arguments(case: Case, folder: Path) -> list[str]:
    """Returns the options of a case's run, under a folder that holds its preset."""
    path = folder / "preset.yaml"
    path.write_text(yaml.safe_dump({**load_preset("tiny"), "resources": case.resources}))
    return ["--preset", str(path), "--runs-dir", str(folder), *_OPTIONS, *case.options]


def started(case: Case, python: str, folder: Path) -> tuple[Command, Nodes | None]:
    """Starts a case's run, and the nodes that it needs."""
    nodes = Nodes(folder) if case.second_node else None
    return Command(python, arguments(case, folder), folder / "run", nodes), nodes


def left_alone(case: Case, python: str, folder: Path) -> list[dict[str, Any]]:
    """Returns the rows of a case's run without a kill."""
    command, nodes = started(case, python, folder)
    try:
        code = command.wait_for(lambda: False)
        if code:
            raise RuntimeError(f"The run that was left alone ended with {code}: {command.output()}")
        return [comparable(row) for row in command.rows()]
    finally:
        if nodes is not None:
            nodes.close()


def kill(
    case: Case, python: str, folder: Path, instant: float, expected: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """Kills one process of a run at an instant, counted in steps, and sees the run to its end.

    Returns:
        The figures of the kill; `clean` where the run ends with 0 and every row is that of the run left alone. None if
        there was no such process, since this run's last step was quicker than the one before.
    """
    command, nodes = started(case, python, folder)
    try:
        step = int(instant)
        command.wait_for(lambda: len(command.rows()) > step)
        # How long the first step takes is not known before its end.
        before = command.rows()[-1] if step else dict.fromkeys(_PHASES, _FIRST_STEP_S / len(_PHASES))
        time.sleep((instant - step) * sum(before[name] for name in _PHASES))
        victims = command.processes(case.is_victim, second=case.second_node)
        if not victims:
            return None
        random.Random(instant).choice(victims).kill()
        killed, had = time.monotonic(), len(command.rows())
        command.wait_for(lambda: len(command.rows()) > had)
        wait_s = time.monotonic() - killed
        code = ended = command.wait_for(lambda: False)
        left = command.left_after(_LEFT_S)
        kept = had - 1
        if ended:
            kept = max((int(path.name[5:]) for path in (folder / "run/checkpoints").glob("step_*")), default=0)
            command, resumed = Command(python, ["--resume", str(folder / "run")], folder / "run"), time.monotonic()
            command.wait_for(lambda: command.starts() == 2 and command.last_step() > kept)
            wait_s += time.monotonic() - resumed
            code = command.wait_for(lambda: False)
        rows, output = [comparable(row) for row in command.rows()], command.output()[-_OUTPUT:]
        whole = trained_once(folder / "run", rows) if case.overlaps else json.dumps(rows) == json.dumps(expected)
    finally:
        if nodes is not None:
            nodes.close()
    clean = code == 0 and whole
    return {
        "instant": instant,
        "ended": ended,
        "exit": code,
        "clean": clean,
        **({} if clean else {"output": output}),
        "steps_lost": had - 1 - kept,
        "wait_s": round(wait_s, 1),
        "left": left,
    }


def trained_once(run: Path, rows: list[dict[str, Any]]) -> bool:
    """Returns whether every step is there, and has trained on its own groups, in the order of their ids."""
    groups = [sorted({one.group_id for one in Dump.read(path).rollouts}) for path in sorted(run.glob("dumps/step_*"))]
    size = len(groups[0]) if groups else 0
    expected = [list(range(step * size, (step + 1) * size)) for step in range(_STEPS)]
    return [row["step"] for row in rows] == list(range(_STEPS + 1)) and groups == expected


def kills_of(name: str, python: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Returns the kills of a case, of which those that are in results/kills_runs/ are not repeated."""
    rng = random.Random(f"{seed} {name}")
    stem = f"{name.replace(' ', '-')}-seed{seed}"
    done = []
    for number, instant in enumerate([rng.uniform(0, _STEPS) for _ in range(count)]):
        path, alone = _RUNS / f"{stem}-{number:02d}.json", _RUNS / f"{stem}-alone.json"
        if not path.exists():
            if not alone.exists():
                with _folder() as folder:
                    _write(alone, left_alone(CASES[name], python, folder))
            found = None
            while found is None:
                with _folder() as folder:
                    found = kill(CASES[name], python, folder, instant, json.loads(alone.read_text()))
                instant -= _TOO_LATE
            _write(path, found)
        done.append(json.loads(path.read_text()))
        print(name, number, done[-1], flush=True)
    return done


def summary(kills: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns a row of the table."""
    return {
        "kills": len(kills),
        "clean": sum(kill["clean"] for kill in kills),
        "resumed": sum(bool(kill["ended"]) for kill in kills),
        "steps_lost_most": max(kill["steps_lost"] for kill in kills),
        "longest_wait_s": max(kill["wait_s"] for kill in kills),
        "left_after_30_s": dict(Counter(name for kill in kills for name in kill["left"])),
    }


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="k-", dir="/tmp", ignore_cleanup_errors=True) as name:  # for short sockets
        yield Path(name)


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as staging:
        staging.write_text(json.dumps(value) + "\n", encoding="utf-8")


def main() -> None:
    """Prints and stores the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[name for name in CASES if "vLLM" not in name])
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the runs, for an engine's environment")
    args = parser.parse_args()
    for name in args.cases:
        kills_of(name, args.python, args.kills, args.seed)
    found: dict[str, list[dict[str, Any]]] = {}
    for name in CASES:
        paths = sorted(_RUNS.glob(f"{name.replace(' ', '-')}-seed{args.seed}-[0-9]*.json"))
        found[name] = [json.loads(path.read_text()) for path in paths]
    table = {name: summary(kills) for name, kills in found.items() if kills}
    for name, row in table.items():
        print(name, row)
    write_results("kills", {"cases": table, "kills": found})


if __name__ == "__main__":
    main()
