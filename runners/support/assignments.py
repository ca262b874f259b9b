"""NAME=VALUE options of the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml


def assignments(pairs: Iterable[str], option: str) -> dict[str, Any]:
    """Returns {name: value} of NAME=VALUE strings; values are read as YAML: 4, 0.5, 1e-4, true, null, text.

    Args:
        pairs: What the user wrote.
        option: The option's name, for the message.

    Raises:
        ValueError: If a string is not of that form, or its value is not YAML.

    >>> assignments(["dtype=float32", "max_model_len=512", "lr=[[0, 1e-4], [1000, 0]]"], "--engine-option")
    {'dtype': 'float32', 'max_model_len': 512, 'lr': [[0, 0.0001], [1000, 0]]}
    """
    values = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ValueError(f"{option} {pair!r}: expected NAME=VALUE.")
        try:
            values[name] = _number(yaml.safe_load(text))
        except Exception as error:  # PyYAML raises many kinds, and a list may hold itself
            raise ValueError(
                f"{option} {pair!r}: the value is not YAML; put it in quotes ({' '.join(str(error).split())})."
            ) from error
    return values


def check_given_once(values: Mapping[str, Any], option: str, own: Mapping[str, tuple[str, Any]]) -> None:
    """Refuses a value that has an option of its own, and is given by NAME=VALUE too, as another.

    Args:
        values: What `assignments` returned.
        option: Whose.
        own: Name -> the option of its own, and what it was given; None if it was not.

    Raises:
        ValueError: The message names both.
    """
    for name, (own_option, value) in own.items():
        if value is not None and name in values and values[name] != value:
            raise ValueError(f"{own_option} {value} and {option} {name}={values[name]}: give one of them.")


def _number(value: Any) -> Any:
    """Returns YAML's value, with 1e-4 as the number that it is to everyone but YAML 1.1; in lists too."""
    if isinstance(value, list):
        return [_number(item) for item in value]
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
