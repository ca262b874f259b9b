"""A run of runners/grpo.py from outside: its rows, its processes, and the death of one of them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from runners.comparing.records import TIMES
from runners.run_folder.reading import read_rows, read_sessions
from tests.launch.nodes import Nodes

ROOT = Path(__file__).resolve().parent.parent
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
        self._folder, self._nodes, self._sessions = folder, nodes, set[int]()
        command = [python, str(ROOT / "runners" / "grpo.py"), *arguments]
        if nodes is not None:
            self._process = nodes.start(0, command, NODE_RESOURCES='{"engine": 1}')
            self._second = nodes.start(1, [], NODE_RESOURCES='{"engine": 1, "second": 1}')
            return
        with folder.with_suffix(".log").open("a") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)

    def output(self) -> str:
        """Returns what was printed so far."""
        return self._nodes.output(0) if self._nodes else self._folder.with_suffix(".log").read_text(encoding="utf-8")

    def rows(self) -> list[dict[str, Any]]:
        """Returns the run's rows so far; one that is half written is left out."""
        return list(read_rows(self._folder / "metrics.jsonl"))

    def last_step(self) -> int:
        """Returns the step of the last row; -1 before there is one."""
        return max((int(row["step"]) for row in self.rows()), default=-1)

    def starts(self) -> int:
        """Returns how often the run was started, resumes included."""
        return len(read_sessions(self._folder))

    def processes(
        self, is_wanted: Callable[[psutil.Process], bool] = lambda process: True, *, second: bool = False
    ) -> list[psutil.Process]:
        """Returns those that this start has begun and that still live, an engine's session of its own included."""
        if second:
            on_second = [process for process in psutil.process_iter() if _session(process) == self._second.pid]
            return [process for process in on_second if is_wanted(process)]
        self._sessions.add(self._process.pid)
        while True:
            found = [process for process in psutil.process_iter() if _session(process) in self._sessions]
            more = {_session(child) for process in found for child in _children(process)} - {None}
            if more <= self._sessions:
                return [process for process in found if is_wanted(process)]
            self._sessions.update(session for session in more if session)

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


def _session(process: psutil.Process) -> int | None:
    """Returns its session; None if it has ended."""
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else os.getsid(process.pid)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return None


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    """Returns what a kill must not change."""
    return {name: value for name, value in row.items() if name not in TIMES | {"num_env_runner_restarts"}}
