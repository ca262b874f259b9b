"""What a run left, read for a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runners.run_folder.reading import read_rows, read_run_config, read_sessions

TIMES = frozenset({"sample_s", "update_s", "sync_s", "tokens_per_s", "sample_tokens_per_s"})
"""Metrics that are times, which no two runs share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run.

    Attributes:
        path: Its folder.
        config: Its settings, sections and all, and the sha256 of problems and model.
        machine: Versions, commit and machine of its last start, by name.
        rows: Step -> its row of metrics.
    """

    path: Path
    config: Mapping[str, Any]
    machine: Mapping[str, Any]
    rows: Mapping[int, Mapping[str, float]]

    @classmethod
    def read(cls, path: Path) -> RunRecord:
        """Reads a folder.

        Raises:
            ValueError: If there is no run in it, or a file cannot be read; the message names it.
        """
        if not (path / "config.yaml").is_file():
            raise ValueError(f"There is no run in {path} (no config.yaml).")
        session = (read_sessions(path) or [{}])[-1]
        machine: dict[str, Any] = {
            name: session[name] for name in ("commit", "python", "versions", "cpu", "threads") if name in session
        }
        return cls(
            path=path,
            config=read_run_config(path),
            machine=dict(flat(machine)),
            rows={int(row["step"]): row for row in read_rows(path / "metrics.jsonl", numbers=True)},
        )


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields ("a.b", value) of nested dictionaries.

    >>> dict(flat({"a": {"b": 1}, "c": 2}))
    {'a.b': 1, 'c': 2}
    """
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
