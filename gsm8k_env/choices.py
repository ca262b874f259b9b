"""The checks behind options: one of a few names, or a count."""

from collections.abc import Iterable
from typing import TypeVar

Name = TypeVar("Name", bound=str)


def check_choice(option: str, value: object, allowed: Iterable[Name]) -> Name:
    """Returns ``value`` if it is one of the allowed names.

    Args:
        option: The option's name, for the message.
        value: What the user gave.
        allowed: The names it may have.

    Raises:
        ValueError: It is none of them; the message lists them.
    """
    names = list(allowed)
    for name in names:
        if name == value:
            return name
    raise ValueError(f"Unknown {option} {value!r}; allowed: {', '.join(map(repr, names))}.")


def check_count(option: str, value: object) -> int:
    """Returns ``value`` if it is an integer of at least 1.

    Raises:
        ValueError: It is not.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError(f"{option} must be an integer of at least 1, got {value!r}.")
