"""Files and folders that are whole or not there, whenever the process is killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STAGING = ".staging-"


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Gives a path beside `target` to write to, and moves it there once everything is on the disk."""
    staging = target.parent / f"{STAGING}{target.name}"
    remove(staging)
    try:
        yield staging
        for path in [staging, *staging.rglob("*")] if staging.is_dir() else [staging]:
            _sync(path)
        if target.is_dir():
            # A folder cannot replace a full one: the old goes aside first, and is removed last.
            aside = target.parent / f"{STAGING}old-{target.name}"
            remove(aside)
            target.rename(aside)
            staging.rename(target)
            remove(aside)
        else:
            staging.replace(target)
        _sync(target.parent)
    finally:
        remove(staging)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Removes a file or a folder; neither need be there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
