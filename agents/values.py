"""Whether a value is what an annotation names, and that in words: for settings, and for the options of agents."""

from __future__ import annotations

import collections.abc
import dataclasses
import math
import numbers
import types
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any


@dataclasses.dataclass(frozen=True, slots=True)
class Allowed:
    """A range, for `Annotated[int, Allowed(">= 1", at_least_1)]`.

    Attributes:
        words: The range, behind the words of the type.
        ok: Whether a value of the right type is in it.
    """

    words: str
    ok: Callable[[Any], bool]


def at_least_1(value: float) -> bool:
    """Returns whether value >= 1."""
    return value >= 1


def positive(value: float) -> bool:
    """Returns whether value > 0."""
    return value > 0


AtLeast1 = Annotated[int, Allowed(">= 1", at_least_1)]
# Longer than any wait; the operating system takes no bound of 1e300 s.
Seconds = Annotated[float, Allowed("> 0 and <= 1e9", lambda value: 0 < value <= 1e9)]


def fits(value: Any, hint: Any) -> bool:
    """Returns whether a value is of a type: an int is a float too, True is no number, and a float is finite.

    >>> fits(3, float), fits(True, int), fits(None, int | None), fits([0.9, 0.95], tuple[float, float])
    (True, False, True, True)
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return fits(value, arguments[0]) and all(allowed.ok(value) for allowed in _ranges(hint))
    if origin is typing.Literal:
        return any(value is option or value == option for option in arguments)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is tuple:
        return (
            isinstance(value, (tuple, list))
            and len(value) == len(arguments)
            and all(fits(item, option) for item, option in zip(value, arguments, strict=True))
        )
    if origin is list:
        return isinstance(value, (tuple, list)) and all(fits(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict)
    if origin is collections.abc.Callable:
        return callable(value)
    if hint is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return isinstance(value, hint)


def words_of(hint: Any, allowed: str = "") -> str:
    """Returns what a value may be, behind "it must be".

    Args:
        hint: The annotation; what a list may be stands in `allowed`.
        allowed: The range in words.

    >>> words_of(int | None, ">= 1")
    'an int >= 1, or None'
    """
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    named = [option for option in options if option is not type(None) and typing.get_origin(option) is not list]
    words = " ".join(filter(None, (" or ".join(map(_type_words, named)), allowed)))
    return f"{words}, or None" if type(None) in options else words


def _ranges(hint: Any) -> Iterator[Allowed]:
    return (allowed for allowed in hint.__metadata__ if isinstance(allowed, Allowed))


def _type_words(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return " ".join([_type_words(arguments[0]), *(allowed.words for allowed in _ranges(hint))])
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(option) for option in arguments)
    if origin is tuple:
        return f"{len(arguments)} numbers"
    if origin is collections.abc.Callable:
        return "a function"
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return f"an instance of {hint.__name__}"
    return _WORDS.get(hint, "a dictionary")


_WORDS = {int: "an int", float: "a number", str: "a text", bool: "True or False"}
