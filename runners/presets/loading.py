"""Reads a preset: a YAML file of this folder by name, or any file by path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from agents.names import did_you_mean

_FOLDER = Path(__file__).parent
_KEYS = {"description", "environment", "env_options", "eval_env_options", "run", "agents", "training", "resources"}


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
    try:
        preset = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"The preset {str(path)!r} is not YAML: {error}") from error
    if not isinstance(preset, dict) or (unknown := set(preset) - _KEYS):
        found = sorted(unknown) if isinstance(preset, dict) else type(preset).__name__
        raise ValueError(f"The preset {str(path)!r} has {found}; its sections may be: {', '.join(sorted(_KEYS))}.")
    return {key: preset.get(key) or ("" if key in ("description", "environment") else {}) for key in _KEYS}
