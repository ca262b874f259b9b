"""The folder of a run: written so that a kill at any instant leaves the last good state."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError

from runners.run_folder.best import is_better
from runners.run_folder.kept_rollouts import thinned
from runners.run_folder.lock import locked
from runners.run_folder.manifest import FORMAT, read_manifest, write_manifest
from runners.run_folder.read_back import check_policy
from runners.run_folder.reading import complete_config, read_rows, read_run_config, read_sessions
from runners.support.atomic import clean, naming, remove, replacing

Save = Callable[[Path], Any]
_CHECKPOINTS, _EVALUATION, _ROLLOUTS = "checkpoints", "evaluation.json", "rollouts.jsonl"
_STEP = re.compile(r"step_(\d{6,})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint that is whole.

    Attributes:
        path: Its folder.
        step: The step after which it was made.
        config: The run's config.yaml as it was then.
    """

    path: Path
    step: int
    config: dict[str, Any]


class RunFolder:
    """runs/<name>/, and all that a run leaves in it; README.md lists the files.

    Args:
        path: The folder; made if it is not there, and locked until `close`.

    Raises:
        BlockingIOError: If another process has it.
        OSError: If it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._lock = locked(path)
        (path / _CHECKPOINTS).mkdir(exist_ok=True)
        for place in (path, path / _CHECKPOINTS):
            clean(place)

    def has_run(self) -> bool:
        """Returns whether a run got as far as its first metrics here; one that failed before left nothing to keep."""
        return (self.path / "metrics.jsonl").exists() or bool(self._checkpoints())

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes config.yaml."""
        with replacing(self.path / "config.yaml") as staging:
            staging.write_text(yaml.safe_dump({"format": FORMAT, **config}, sort_keys=False), encoding="utf-8")

    def read_config(self) -> dict[str, Any]:
        """Returns what `write_config` wrote; see `read_run_config`."""
        return read_run_config(self.path)

    def add_session(self, session: Mapping[str, Any]) -> None:
        """Appends to provenance.json what this process is: command, commit, versions, machine, settings."""
        sessions = [*self.sessions(), session]
        with replacing(self.path / "provenance.json") as staging:
            staging.write_text(json.dumps({"sessions": sessions}, indent=1), encoding="utf-8")

    def sessions(self) -> list[dict[str, Any]]:
        """Returns what `add_session` wrote. Raises as `read_sessions` does."""
        return read_sessions(self.path)

    def log(self, row: Mapping[str, float]) -> None:
        """Appends a step's metrics to metrics.jsonl."""
        _append(self.path / "metrics.jsonl", [row])

    def log_samples(self, samples: Iterable[Mapping[str, Any]]) -> None:
        """Appends completions to samples.jsonl."""
        _append(self.path / "samples.jsonl", samples)

    def log_rollouts(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Appends the rows of `kept_rollouts` to rollouts.jsonl; steps are left out where there are too many.

        Raises:
            ValueError: For a line that is no row; the message names file and line.
        """
        path = self.path / _ROLLOUTS
        _append(path, rows)
        every = list(read_rows(path))
        if len(kept := thinned(every)) < len(every):
            with replacing(path) as staging:
                _append(staging, kept)

    def metrics(self) -> list[dict[str, float]]:
        """Returns the rows of metrics.jsonl.

        Raises:
            ValueError: For a line that is no row; the message names file and line.
        """
        return list(read_rows(self.path / "metrics.jsonl", numbers=True))

    def rewind(self, step: int) -> None:
        """Drops the metrics, samples and rollouts after `step`: those steps will be done again.

        Raises:
            ValueError: For a line that is no row; nothing is dropped then.
        """
        kept = {
            name: [row for row in read_rows(self.path / name) if row["step"] <= step]
            for name in ("metrics.jsonl", "samples.jsonl", _ROLLOUTS)
        }
        for name, rows in kept.items():
            with replacing(self.path / name) as staging:
                staging.touch()
                _append(staging, rows)

    def save_checkpoint(
        self, step: int, save_state: Save, save_policy: Save, *, config: Mapping[str, Any], keep: int
    ) -> Path:
        """Makes checkpoints/step_N, in one move, once all of it was read back; removes all but the newest.

        Args:
            step: N.
            save_state: Writes what to go on from to the folder it is given.
            save_policy: Writes the Hugging Face folder `policy` in it.
            config: The run's, for the manifest.
            keep: How many checkpoints stay.

        Raises:
            OSError: If it cannot be written, such as on a full disk; earlier checkpoints stay.
        """
        target = self.path / _CHECKPOINTS / f"step_{step:06d}"
        with replacing(target) as staging:
            staging.mkdir()
            _save(save_state, staging, target)
            (staging / "policy").mkdir()
            _save(save_policy, staging / "policy", target / "policy")
            check_policy(staging / "policy", target / "policy")
            write_manifest(staging, step=step, config=dict(config))
        # Later ones are broken, if there are any: the run went back to before them.
        for old in [path for number, path in self._checkpoints() if number <= step][:-keep]:
            remove(old)
        return target

    def save_policy(self, save: Save, name: str = "policy") -> Path:
        """Makes a Hugging Face folder by `save(folder)`, in one move, once everything in it was read back.

        Raises:
            OSError: If it cannot be written, or is not whole; an earlier one stays.
        """
        target = self.path / name
        with replacing(target) as staging:
            staging.mkdir()
            _save(save, staging, target)
            check_policy(staging, target)
        return target

    def save_best(self, row: Mapping[str, float], save: Save) -> None:
        """Makes best/ by `save(folder)`, with the row in evaluation.json, if it is better than the one there.

        Raises:
            OSError: As `save_policy`.
            ValueError: If evaluation.json cannot be read.
        """

        def save_with_row(folder: Path) -> None:
            save(folder)
            (folder / _EVALUATION).write_text(json.dumps(row), encoding="utf-8")

        if is_better(row, self.best()):
            self.save_policy(save_with_row, "best")

    def best(self) -> dict[str, float]:
        """Returns the row of metrics of best/; none where it is not there.

        Raises:
            ValueError: If evaluation.json cannot be read.
        """
        path = self.path / "best" / _EVALUATION
        try:
            return {n: float(value) for n, value in json.loads(path.read_bytes()).items()} if path.exists() else {}
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path} cannot be read ({error}): move {path.parent} away.") from error

    def whole_checkpoint(self) -> tuple[Checkpoint | None, list[str]]:
        """Returns the newest checkpoint whose files are as they were written, and what is wrong with newer ones."""
        broken: list[str] = []
        for step, path in reversed(self._named()):
            try:
                manifest = read_manifest(path)
                if manifest["step"] != step:
                    raise ValueError(f"it was made after step {manifest['step']!r}")
                config = complete_config(manifest["config"], path / "manifest.json")
                return Checkpoint(path=path, step=step, config=config), broken
            except (ValueError, KeyError, TypeError) as error:
                broken.append(f"{path} is broken: {error}")
        return None, broken

    def newest_checkpoint(self) -> Path | None:
        """Returns the newest checkpoint, whole or not."""
        checkpoints = self._checkpoints()
        return checkpoints[-1][1] if checkpoints else None

    def keep_traceback(self) -> None:
        """Writes the traceback of the exception in hand to traceback.txt: of it only a line is shown."""
        with suppress(OSError):  # on a full disk the line must do
            (self.path / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")

    def close(self) -> None:
        """Lets other processes have the folder."""
        self._lock.close()

    def _checkpoints(self) -> list[tuple[int, Path]]:
        """Returns (step, folder), the newest last; what else lies there is let be."""
        return [(step, path) for step, path in self._named() if path.is_dir()]

    def _named(self) -> list[tuple[int, Path]]:
        """Returns the same, and what has a checkpoint's name and is no folder, such as a link to nothing."""
        named = ((_STEP.fullmatch(path.name), path) for path in (self.path / _CHECKPOINTS).iterdir())
        return sorted((int(match[1]), path) for match, path in named if match)


def _save(save: Save, staging: Path, target: Path) -> None:
    try:
        save(staging)
    except SafetensorError as error:  # of a full disk too
        raise OSError(f"{target} could not be written: {error}") from error


def _append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    except OSError as error:
        raise naming(error, path) from error
