"""Reads a preset: a YAML file of this folder by name, or any file by path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.names import did_you_mean
from runners.support.sections import read_sections

_FOLDER = Path(__file__).parent
_KINDS: dict[str, type] = {
    "description": str,
    "trainer": str,
    "environment": str,
    **dict.fromkeys(("env_options", "eval_env_options", "run", "agents", "training", "resources"), dict),
}
_DEFAULT_TRAINER = "grpo"


def preset_names(trainer: str | None = None) -> list[str]:
    """Returns the names of the presets that ship here, of all trainers or of one."""
    names = sorted(path.stem for path in _FOLDER.glob("*.yaml"))
    return [name for name in names if trainer in (None, load_preset(name)["trainer"])]


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
    defaults = {key: kind() for key, kind in _KINDS.items()} | {"trainer": _DEFAULT_TRAINER}
    return defaults | read_sections(path, _KINDS, what="preset")
