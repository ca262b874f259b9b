"""The check behind every option that takes one of a few names."""

import difflib
from collections.abc import Iterable
from typing import TypeVar

Name = TypeVar("Name", bound=str)


def did_you_mean(value: str, allowed: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the nearest allowed name, or "" if none is near.

    Args:
        value: What the user wrote.
        allowed: The names that would have been right.

    >>> did_you_mean("trian", ["train", "test"])
    " Did you mean 'train'?"
    >>> did_you_mean("zzz", ["train", "test"])
    ''
    """
    near = difflib.get_close_matches(value, list(allowed), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def check_choice(option: str, value: object, allowed: Iterable[Name]) -> Name:
    """Returns ``value`` if it is one of the allowed names.

    Args:
        option: The option's name, for the message.
        value: What the user gave.
        allowed: The names it may have.

    Raises:
        ValueError: It is none of them; the message lists them and names the nearest.
    """
    names = list(allowed)
    for name in names:
        if name == value:
            return name
    listed = ", ".join(repr(name) for name in names)
    raise ValueError(f"Unknown {option} {value!r}; allowed: {listed}.{did_you_mean(str(value), names)}")
