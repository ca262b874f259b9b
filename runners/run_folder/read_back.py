"""Whether a policy's folder holds what it should: asked before it is reported as written."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

_INDEX = "model.safetensors.index.json"


def check_policy(folder: Path, target: Path) -> None:
    """Looks for configuration, tokenizer and weights, and opens each file of weights.

    Args:
        folder: Where the policy was written.
        target: Where it is to be, for the message.

    Raises:
        OSError: If something is missing or cut short.
    """
    missing = [name for name in ("config.json", "tokenizer_config.json") if not _whole(folder / name)]
    missing += broken_weights(folder)
    if missing:
        found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise OSError(
            f"The policy was not written whole to {target}: {', '.join(missing)} missing or cut short, found {found}. "
            "Is the disk full, or did another machine write it to its own? The run's checkpoints hold the same weights."
        )


def broken_weights(folder: Path) -> list[str]:
    """Returns the files of weights that are missing or cut short; the index, where it is none."""
    try:
        names = _weight_files(folder)
    except (ValueError, KeyError, TypeError, AttributeError):
        return [_INDEX]
    return [name for name in names if not _whole(folder / name)]


def _weight_files(folder: Path) -> list[str]:
    """Returns the names of the files of weights: those of the index, where the model is split."""
    index = folder / _INDEX
    if not index.exists():
        return ["model.safetensors"]
    return sorted(set(json.loads(index.read_bytes())["weight_map"].values()))


def _whole(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size == 0:
        return False
    if path.suffix == ".safetensors":
        try:
            # It reads the header, and compares the file's size with what the header says.
            with safe_open(path, framework="numpy"):
                pass
        except SafetensorError:
            return False
    return True
