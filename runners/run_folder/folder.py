"""The folder of a run: written so that a kill at any instant leaves the last good state."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from tensorboardX import SummaryWriter

from runners.run_folder.read_back import check_policy
from runners.support.atomic import clean, replacing

_CHECKPOINTS, _PREFIX, _KEPT = "checkpoints", "step_", 2


class RunFolder:
    """runs/<name>/: config.yaml, metrics.jsonl, samples.jsonl, TensorBoard files, checkpoints/, policy/, a picture.

    Args:
        path: The folder; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / _CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        for place in (path, path / _CHECKPOINTS):
            clean(place)
        self._tensorboard = SummaryWriter(str(path / "tensorboard"))

    def has_run(self) -> bool:
        """Returns whether a run wrote here before."""
        return (self.path / "config.yaml").exists()

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes config.yaml."""
        with replacing(self.path / "config.yaml") as staging:
            staging.write_text(yaml.safe_dump(dict(config), sort_keys=False))

    def read_config(self) -> dict[str, Any]:
        """Returns what `write_config` wrote."""
        return yaml.safe_load((self.path / "config.yaml").read_text())

    def log(self, row: Mapping[str, float]) -> None:
        """Appends a step's metrics to metrics.jsonl and TensorBoard."""
        _append(self.path / "metrics.jsonl", [row])
        for name, value in row.items():
            if name != "step":
                self._tensorboard.add_scalar(name, value, int(row["step"]))
        self._tensorboard.flush()

    def log_samples(self, samples: Iterable[Mapping[str, Any]]) -> None:
        """Appends completions to samples.jsonl."""
        _append(self.path / "samples.jsonl", samples)

    def metrics(self) -> list[dict[str, float]]:
        """Returns the rows of metrics.jsonl."""
        return list(_read(self.path / "metrics.jsonl"))

    def rewind(self, step: int) -> None:
        """Drops the metrics and samples after `step`: those steps will be done again."""
        for name in ("metrics.jsonl", "samples.jsonl"):
            rows = [row for row in _read(self.path / name) if row["step"] <= step]
            with replacing(self.path / name) as staging:
                staging.touch()
                _append(staging, rows)

    def save_checkpoint(self, step: int, save: Callable[[Path], Any]) -> Path:
        """Makes checkpoints/step_N by `save(folder)`, in one move, and removes all but the last two.

        Raises:
            OSError: If it cannot be written, such as on a full disk; earlier checkpoints stay.
        """
        target = self.path / _CHECKPOINTS / f"{_PREFIX}{step:06d}"
        with replacing(target) as staging:
            staging.mkdir()
            save(staging)
        for old in self._checkpoints()[:-_KEPT]:
            shutil.rmtree(old)
        return target

    def save_policy(self, save: Callable[[Path], Any]) -> Path:
        """Makes policy/ by `save(folder)`, in one move, once everything in it was read back.

        Raises:
            OSError: If it cannot be written, or is not whole; an earlier policy stays.
        """
        target = self.path / "policy"
        with replacing(target) as staging:
            staging.mkdir()
            save(staging)
            check_policy(staging, target)
        return target

    def latest_checkpoint(self) -> tuple[Path, int] | None:
        """Returns the last good checkpoint and its step, or None."""
        checkpoints = self._checkpoints()
        return (checkpoints[-1], int(checkpoints[-1].name.removeprefix(_PREFIX))) if checkpoints else None

    def close(self) -> None:
        """Closes the TensorBoard file."""
        self._tensorboard.close()

    def _checkpoints(self) -> list[Path]:
        return sorted((self.path / _CHECKPOINTS).glob(f"{_PREFIX}*"))


def _append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the rows of a file; a last line cut short by a kill is left out."""
    if not path.exists():
        return
    with path.open() as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)
