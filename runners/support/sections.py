"""YAML files of sections: presets, and the configuration of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_WORDS = {dict: "NAME: VALUE pairs", str: "a text", int: "an int"}


def read_sections(path: Path, kinds: Mapping[str, type], *, what: str) -> dict[str, Any]:
    """Returns the sections that a file has.

    Args:
        path: The file.
        kinds: Section -> dict, str or int.
        what: The file's use, for messages: "preset".

    Raises:
        ValueError: If it is not YAML, or has an unknown section or one of another kind.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError:
        raise
    except Exception as error:  # PyYAML raises IndexError, OverflowError and others for some broken files
        raise ValueError(f"The {what} {str(path)!r} is not YAML: {' '.join(str(error).split())}") from error
    return check_sections(found, path, kinds, what=what)


def check_sections(found: Any, path: Path, kinds: Mapping[str, type], *, what: str) -> dict[str, Any]:
    """Returns the sections of what stands in a file. Arguments and errors as of `read_sections`."""
    if not isinstance(found, dict):
        raise ValueError(
            f"The {what} {str(path)!r} holds {type(found).__name__}, but it must hold sections: {', '.join(kinds)}."
        )
    if unknown := [name for name in found if name not in kinds]:
        raise ValueError(f"The {what} {str(path)!r} has {unknown}; its sections may be: {', '.join(kinds)}.")
    found = {name: section for name, section in found.items() if section is not None}
    for name, section in found.items():
        if isinstance(section, dict) and (wrong := [key for key in section if not isinstance(key, str)]):
            raise ValueError(f"The {what} {str(path)!r} has {wrong[0]!r} in {name}: a name must be a text.")
        if type(section) is not kinds[name]:
            raise ValueError(f"The {what} {str(path)!r} has {name}: {section!r}, but it must be {_WORDS[kinds[name]]}.")
    return found
