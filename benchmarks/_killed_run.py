"""A run of runners/grpo.py from outside: its rows, its processes, and the death of one of them."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from runners.comparing.records import TIMES
from tests.launch.nodes import Nodes

ROOT = Path(__file__).resolve().parent.parent
_MARK, _SECOND = "KILLS_RUN", "KILLS_SECOND"
_TIMEOUT_S = 900.0


class Command:
    """A start of runners/grpo.py, perhaps on two nodes, with all processes that come of it.

    Args:
        python: The interpreter.
        arguments: Of the script.
        folder: The run's; the output goes beside it.
        nodes: Where it runs; None is a Ray of its own.
    """

    def __init__(self, python: str, arguments: list[str], folder: Path, nodes: Nodes | None = None) -> None:
        self._folder, self._mark = folder, uuid.uuid4().hex
        command = [python, str(ROOT / "runners" / "grpo.py"), *arguments]
        if nodes is not None:
            mark = {_MARK: self._mark}
            self._process = nodes.start(0, command, NODE_RESOURCES='{"engine": 1}', **mark)
            nodes.start(1, [], NODE_RESOURCES='{"engine": 1, "second": 1}', **{_SECOND: self._mark}, **mark)
            return
        command = ["env", f"{_MARK}={self._mark}", *command]
        with folder.with_suffix(".log").open("a") as log:
            log.write(f"$ {shlex.join(command)}\n")
            log.flush()
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)

    def rows(self) -> list[dict[str, Any]]:
        """Returns the run's rows so far; one that is half written is left out."""
        path = self._folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def last_step(self) -> int:
        """Returns the step of the last row; -1 before there is one."""
        return max((int(row["step"]) for row in self.rows()), default=-1)

    def starts(self) -> int:
        """Returns how often the run was started, resumes included."""
        path = self._folder / "provenance.json"
        return len(json.loads(path.read_text(encoding="utf-8"))["sessions"]) if path.exists() else 0

    def processes(self, second: bool = False) -> list[psutil.Process]:
        """Returns what this start has begun and still lives, on the second node alone if asked."""
        name = _SECOND if second else _MARK
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(name) == self._mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:  # gone meanwhile
                continue
        return found

    def wait_for(self, condition: Callable[[], bool]) -> int | None:
        """Waits until a condition holds or the command has ended; returns the exit code, None while it runs.

        Raises:
            TimeoutError: After a quarter of an hour.
        """
        deadline = time.monotonic() + _TIMEOUT_S
        while (code := self._process.poll()) is None and not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._folder}: nothing for {_TIMEOUT_S:g} s")
            time.sleep(0.02)
        return code

    def left_after(self, seconds: float) -> list[str]:
        """Waits until no process is left, or for that long; returns the names of those that are."""
        deadline = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(1)
        return sorted(process.name() for process in left)


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    """Returns what a kill must not change."""
    return {name: value for name, value in row.items() if name not in TIMES | {"num_env_runner_restarts"}}
