"""Reads the files of a run; whatever stands in them, an error is one sentence that names the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents.values import fits
from runners.run_folder.manifest import check_format
from runners.support.sections import check_sections, read_sections

# Of config.yaml: what a run is.
_SECTIONS: dict[str, type] = {
    "preset": str,
    "seed": int,
    "environment": str,
    "trainer": str,
    **dict.fromkeys(
        ("env_options", "eval_env_options", "run", "agents", "training", "resources", "fingerprints"), dict
    ),
}


def read_run_config(run: Path) -> dict[str, Any]:
    """Returns what `RunFolder.write_config` wrote; the folder may be another process's.

    Raises:
        ValueError: If it is not that any more, or of another format; the message names the file.
    """
    path = run / "config.yaml"
    found = read_sections(path, {"format": int, **_SECTIONS}, what="configuration")
    check_format(found, path)
    del found["format"]
    return complete_config(found, path)


def complete_config(config: Any, path: Path) -> dict[str, Any]:
    """Returns a run's configuration as it stands in a file.

    Raises:
        ValueError: If a section is missing, unknown or of another kind; the message names the file.
    """
    # GRPO was the only trainer once, and not named.
    found = {"trainer": "grpo", **check_sections(config, path, _SECTIONS, what="configuration")}
    if missing := [name for name in _SECTIONS if name not in found]:
        raise ValueError(f"{path} lacks {', '.join(missing)}: put them back, or start a new run.")
    return found


def read_sessions(run: Path) -> list[dict[str, Any]]:
    """Returns the processes of a run, the last one last; the folder may be another process's.

    Raises:
        ValueError: If provenance.json is not what `RunFolder.add_session` wrote; the message names it.
    """
    path = run / "provenance.json"
    try:
        return [dict(session) for session in json.loads(path.read_bytes())["sessions"]] if path.exists() else []
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: {error}): mend it or move it away."
        ) from error


def read_rows(path: Path, *, numbers: bool = False) -> Iterator[dict[str, Any]]:
    """Yields the rows of a file such as metrics.jsonl; a last line cut short by a kill is left out.

    Raises:
        ValueError: For a line that is no row; the message names file and line.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n"):
                row = _row(line, path, number)
                if numbers and (wrong := [name for name, value in row.items() if type(value) not in (int, float)]):
                    raise _unreadable(path, number, f"{wrong[0]} is {row[wrong[0]]!r:.40}, not a number")
                yield row


def _row(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
        if isinstance(row, dict) and fits(row.get("step"), float):
            return row
        reason = "it is no row of a step"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise _unreadable(path, number, reason)


def _unreadable(path: Path, number: int, reason: str) -> ValueError:
    return ValueError(f"{path}, line {number}, cannot be read ({reason}): mend or remove that line.")
