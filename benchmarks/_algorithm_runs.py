"""One run of the comparison: an entry trains in a process of its own, its folder is scored in another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _protocol import Protocol
from _task import Task
from entries import place_of

from runners.support.atomic import replacing

_HERE = Path(__file__).resolve().parent
_SHOWN_LINES = 15
_ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKey:
    """Which run. The seed decides whatever is random; our own algorithms get the same problems in the same order."""

    algorithm: str
    lr: float
    seed: int

    @property
    def name(self) -> str:
        """The run's file name without its suffix."""
        return f"{self.algorithm.replace(':', '.')}-lr{self.lr:g}-seed{self.seed}"


def train_and_score(key: RunKey, protocol: Protocol) -> dict[str, Any]:
    """Trains until the budget is spent and returns the run's record, as JSON values.

    A run whose loss stops being finite is scored with the last weights that were, if the entry returns them: leaving it
    out would flatter the algorithm.

    Returns:
        {"key", "protocol", "scores": {"greedy": [T], "sampled": [T], "entropy"}, "tokens", "tokens_counted": False
        where they are the entry's own number, "env_steps", "train_s", "cpu_s": processor seconds of the entry's process
        and of those it waited for, "labels", "diverged": None or the reason, "curve": {"tokens": [K], "sampled":
        [K][T]} without the start, and whatever else the entry reported}.

    Raises:
        RuntimeError: If the entry fails; with the last lines that it printed.
    """
    with tempfile.TemporaryDirectory(prefix="entry-") as name:
        folder = Path(name)
        task = protocol.task_of(key.seed, key.lr, folder)
        cpu_s = _run("_entry_process.py", [str(task.write()), place_of(key.algorithm)], folder, protocol.threads)
        returned = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
        points = task.points()
        asked = {
            "protocol": asdict(protocol),
            "policy": returned["policy"],
            "points": [str(p) for p in points.values()],
        }
        (folder / "scoring.json").write_text(json.dumps(asked), encoding="utf-8")
        _run("_scores.py", [str(folder / "scoring.json")], folder, protocol.threads)
        scored = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        return _record(key, protocol, task, returned, scored, list(points)) | {"cpu_s": cpu_s}


def _record(
    key: RunKey, protocol: Protocol, task: Task, returned: Mapping[str, Any], scored: Mapping[str, Any], at: list[int]
) -> dict[str, Any]:
    counted, facts = task.tokens(), task.reported()
    tokens = counted or facts.get("tokens", 0)
    return {
        **{"steps": None, "labels": "rewards", "diverged": None, "settings": {}},
        **facts,
        "key": asdict(key),
        "protocol": asdict(protocol),
        "scores": scored["scores"],
        "tokens": tokens,
        "tokens_counted": bool(counted),
        "env_steps": task.env_steps(),
        "train_s": returned["train_s"],
        "curve": {
            "tokens": [*at, max(tokens, protocol.token_budget)],
            "sampled": [*scored["points"], scored["scores"]["sampled"]],
        },
    }


def _run(script: str, arguments: list[str], folder: Path, threads: int) -> float:
    """Runs a script of this folder to its end; returns its processor seconds.

    Raises:
        RuntimeError: If it fails.
    """
    path = os.pathsep.join([str(_HERE), str(_HERE.parent), os.getcwd(), os.environ.get("PYTHONPATH", "")])
    environment = {**_ENVIRONMENT, **os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
    log = folder / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, str(_HERE / script), *arguments], stdout=output, stderr=output, env=environment
        )
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        raise
    if code := os.waitstatus_to_exitcode(status):
        last = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN_LINES:])
        raise RuntimeError(f"exit code {code}:\n{last}")
    return round(usage.ru_utime + usage.ru_stime, 1)


class RunFolder:
    """One JSON file a finished run; a file is there whole or not at all.

    Raises:
        ValueError: When a file of another protocol is read.
    """

    def __init__(self, path: Path, protocol: Protocol) -> None:
        self.path = path.resolve()
        self._protocol = protocol

    def read(self, name: str) -> dict[str, Any] | None:
        """Returns a finished record, or None."""
        path = self.path / f"{name}.json"
        if not path.exists():
            return None
        record = json.loads(path.read_text(encoding="utf-8"))
        ours = asdict(self._protocol)
        different = {k: (v, record["protocol"].get(k)) for k, v in ours.items() if v != record["protocol"].get(k)}
        if different:
            shown = ", ".join(f"{name} is {there}, now {here}" for name, (here, there) in different.items())
            raise ValueError(
                f"{path.name} in {self.path.name}/ is of another protocol: {shown}. Runs of different protocols cannot "
                "be compared: give the options it was made with, or another --runs-dir."
            )
        return record

    def write(self, name: str, record: Mapping[str, Any]) -> None:
        """Stores a finished record."""
        self.path.mkdir(parents=True, exist_ok=True)
        with replacing(self.path / f"{name}.json") as path:
            path.write_text(json.dumps(record) + "\n", encoding="utf-8")
