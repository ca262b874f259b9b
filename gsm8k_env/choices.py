"""The check behind every option that takes one of a few names."""

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
