"""Which processes run."""

from __future__ import annotations

import time
from pathlib import Path


def group_ends(group: int, *, within_s: float = 5.0) -> bool:
    """Returns whether a process group is soon without a process that is more than waiting to be reaped."""
    return _soon(lambda fields: int(fields[2]) == group, within_s)


def process_ends(pid: int, *, within_s: float = 5.0) -> bool:
    """Returns the same for one process."""
    return _soon(lambda fields: int(fields[-1]) == pid, within_s)


def _soon(chosen: object, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not any(chosen(fields) and fields[0] != "Z" for fields in _processes()):  # type: ignore[operator]
            return True
        time.sleep(0.1)
    return False


def _processes() -> list[list[str]]:
    """Returns state, parent, group, ... of every process, and its id last (see proc(5), stat)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended since
        found.append([*text.rpartition(")")[2].split(), path.parent.name])
    return found
