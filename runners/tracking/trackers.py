"""All trackers of a run: found by their names, told the same, and none of them able to stop it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runners.run_folder.conditions import NO_TRACKER, TRACKERS
from runners.support.atomic import replacing
from runners.tracking.tracker import TrackedRun, Tracker

_CLASSES = dict(zip(TRACKERS, ("TensorBoard", "WandB", "MLflow"), strict=True))


def find_trackers(report_to: str) -> dict[str, Callable[[TrackedRun], Tracker]]:
    """Returns name -> class of the trackers that `report_to` names, imported.

    Args:
        report_to: "none", or names separated by commas.

    Raises:
        ValueError: For an unknown name, a class that is not there, or a package that is not installed; the message says
            the command that installs it.
    """
    return {} if report_to == NO_TRACKER else {name: _find(name) for name in report_to.split(",")}


def _find(name: str) -> Callable[[TrackedRun], Tracker]:
    place = f"runners.tracking.{name}:{_CLASSES[name]}" if name in _CLASSES else name
    module, _, attribute = place.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        mend = f" pip install 'gsm8k-env[{name}]'" if name in _CLASSES else f" {error}."
        raise ValueError(f"report_to={name!r}: it cannot be imported.{mend}") from error
    if not callable(found):
        raise ValueError(f"report_to={name!r}: {module} has no class {attribute!r}.")
    return found


class Trackers:
    """Those of a run. One that raises is left out from then on, and a note says so.

    Args:
        folder: The run's; trackers.json keeps what each calls the run.
        settings: The run's, as config.yaml has them.
        report_to: As `find_trackers` takes it.
        say: Shows a line.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], report_to: str, say: Callable[[str], None]) -> None:
        self._say = say
        self._trackers: dict[str, Tracker] = {}
        path = folder / "trackers.json"
        ids = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for name, tracker_class in find_trackers(report_to).items():
            run = TrackedRun(folder=folder, settings=settings, id=ids.get(name))
            self._try(name, lambda: self._trackers.update({name: tracker_class(run)}))  # noqa: B023
        known = {name: tracker.id for name, tracker in self._trackers.items() if tracker.id is not None}
        if known and {**ids, **known} != ids:
            with replacing(path) as staging:
                staging.write_text(json.dumps({**ids, **known}), encoding="utf-8")

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        self.close(ok=kind is None)

    def log(self, row: Mapping[str, float]) -> None:
        """Tells each a row of metrics.jsonl."""
        self._each(lambda tracker: tracker.log(row))

    def log_completions(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Tells each the rows of samples.jsonl of one evaluation."""
        if rows:
            self._each(lambda tracker: tracker.log_completions(rows))

    def close(self, *, ok: bool) -> None:
        """Ends each."""
        self._each(lambda tracker: tracker.close(ok=ok))
        self._trackers.clear()

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            self._try(name, lambda: call(tracker))  # noqa: B023

    def _try(self, name: str, call: Callable[[], None]) -> None:
        # Whatever a tracker raises, the run is worth more.
        try:
            call()
        except Exception as error:
            self._trackers.pop(name, None)
            self._say(f"note: {name} failed, and the run goes on without it: {type(error).__name__}: {error}")
