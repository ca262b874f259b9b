"""What a folder holds, with the sha256 of each file: compared before any of it is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Of run folders and their checkpoints. Another number is another layout, which this code does not read.
FORMAT = 1
_NAME = "manifest.json"


def write_manifest(folder: Path, **more: Any) -> None:
    """Reads every file of a folder back, and writes manifest.json beside them with their hashes and `more`."""
    manifest = {"format": FORMAT, **more, "files": _hashes(folder)}
    (folder / _NAME).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Returns manifest.json, once every file is what it says.

    Raises:
        ValueError: If a file is missing, another, or one too many, or there is no manifest of this format.
    """
    try:
        manifest = json.loads((folder / _NAME).read_bytes())
        files = dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{folder / _NAME} cannot be read ({type(error).__name__}: {error})") from error
    check_format(manifest, folder / _NAME)
    found = _hashes(folder)
    if wrong := sorted(name for name in files.keys() | found.keys() if files.get(name) != found.get(name)):
        shown = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise ValueError(f"not as written: {shown}")
    return manifest


def check_format(found: Mapping[str, Any], where: Path) -> None:
    """Refuses another format than this version's.

    Raises:
        ValueError: For another one, or none, as folders have that were written before there was one.
    """
    if (number := found.get("format")) != FORMAT:
        raise ValueError(
            f"{where} is of format {number}, and this version reads format {FORMAT} alone: go on with the version that "
            "wrote it, or start a new run from its policy with --model."
        )


def _hashes(folder: Path) -> dict[str, str]:
    """Returns path -> sha256 of every file but the manifest."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / _NAME:
            with path.open("rb") as file:
                hashes[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
