"""The line about the report with which a run ends: where it is, or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def report_line(write: Callable[[Path], Path], folder: Path) -> str:
    """Writes a report and returns a line about it; whatever goes wrong becomes the line.

    The folder is finished by then, and a report can be made at any time: no fault of it may end a run with an error.

    Args:
        write: Makes the report of a folder and returns its path.
        folder: The folder.
    """
    try:
        return f"report: {write(folder)}"
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return f"warning: no report was written ({reason}). Try again: python runners/report.py {folder}"
