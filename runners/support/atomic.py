"""Files and folders that are whole or not there, whenever the process is killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STAGING, _ASIDE = ".staging-", ".replaced-"


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Gives a path beside `target` to write to, and moves it there once everything is on the disk.

    A kill leaves the old or the new one, whole; of a folder perhaps under another name, until `clean` puts it back.

    Raises:
        OSError: If it cannot be written; the message names `target`.
    """
    staging = target.parent / f"{_STAGING}{target.name}"
    remove(staging)
    try:
        yield staging
        for path in [staging, *staging.rglob("*")] if staging.is_dir() else [staging]:
            _sync(path)
        if target.is_dir() or (staging.is_dir() and os.path.lexists(target)):
            # A folder cannot replace a full one, nor a file: the old goes aside first, and is removed last.
            aside = target.parent / f"{_ASIDE}{target.name}"
            remove(aside)
            target.rename(aside)
            try:
                staging.rename(target)
            except OSError:
                aside.rename(target)
                raise
            _sync(target.parent)
            remove(aside)
        else:
            staging.replace(target)
            _sync(target.parent)
    except OSError as error:
        raise naming(error, target) from error
    finally:
        remove(staging)


def naming(error: OSError, path: Path) -> OSError:
    """Returns the error with a path in it: a write to a full disk names none."""
    if error.errno is None or error.filename is not None:
        return error
    return OSError(error.errno, error.strerror, str(path))


def clean(folder: Path) -> None:
    """Undoes what a kill inside `replacing` left in a folder: an old folder without a successor comes back."""
    for aside in folder.glob(f"{_ASIDE}*"):
        target = folder / aside.name.removeprefix(_ASIDE)
        if target.exists():
            remove(aside)
        else:
            aside.rename(target)
    for left_behind in folder.glob(f"{_STAGING}*"):
        remove(left_behind)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Removes a file, a folder, or a link to either and not what it points to; none need be there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
