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
        self._folder, self._nodes = folder, nodes
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
        """Returns those that this start has begun and that still live, of its session; or the second node's."""
        session = self._second.pid if second else self._process.pid
        return [process for process in psutil.process_iter() if _is_in(process, session) and is_wanted(process)]

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


def _is_in(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    """Returns what a kill must not change."""
    return {name: value for name, value in row.items() if name not in TIMES | {"num_env_runner_restarts"}}
