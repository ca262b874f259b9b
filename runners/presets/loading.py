"""Reads a preset: a YAML file of this folder by name, or any file by path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.names import did_you_mean
from runners.support.sections import read_sections

_FOLDER = Path(__file__).parent
_KINDS: dict[str, type] = {
    "description": str,
    "environment": str,
    **dict.fromkeys(("env_options", "eval_env_options", "run", "agents", "training", "resources"), dict),
}


def preset_names() -> list[str]:
    """Returns the names of the presets that ship here."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load_preset(name: str) -> dict[str, Any]:
    """Returns a preset with every section present.

    Args:
        name: One of `preset_names()`, or the path of a .yaml file with the same sections.

    Raises:
        ValueError: For an unknown name, a file that is not YAML, or an unknown section.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else _FOLDER / f"{name}.yaml"
    if not path.is_file():
        hint = did_you_mean(name, preset_names())
        raise ValueError(f"No preset {name!r}.{hint} Known: {', '.join(preset_names())}, or the path of a .yaml file.")
    return {key: kind() for key, kind in _KINDS.items()} | read_sections(path, _KINDS, what="preset")
