"""Whether an agent takes the options that it is given: their names, and what its annotations say of their values."""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from agents.names import did_you_mean
from agents.values import fits, words_of

_SCALARS = (int, float, str, bool, types.NoneType)
_CONTAINERS = (typing.Union, types.UnionType, list, tuple, dict)


def check_options(name: str, target: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuses an option that the agent does not name, and a value that is not what it says of that option.

    One with `**options` hands those it does not name to its engine, which knows them.

    Args:
        name: The agent's, for messages.
        target: Its class.
        options: What it is to be made with.

    Raises:
        ValueError: The message names option, value and what is allowed.
    """
    parameters = inspect.signature(target).parameters
    hints = _hints(target)
    takes_more = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for option, value in options.items():
        if option not in parameters and not takes_more:
            hint = did_you_mean(option, parameters)
            raise ValueError(
                f"The agent {name!r} has no option {option!r}.{hint} Its options: {', '.join(parameters)}."
            )
        if option in hints and not fits(value, hints[option]):
            raise ValueError(
                f"The agent {name!r} has the option {option}={value!r}, but it must be {words_of(hints[option])}."
            )


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Returns parameter -> annotation, of those whose values can be told by it."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError:  # an agent of someone else's may import a type for its checker alone
        return {}
    keywords = {p.name for p in inspect.signature(target).parameters.values() if p.kind is not p.VAR_KEYWORD}
    return {name: hint for name, hint in hints.items() if name in keywords and _is_telling(hint)}


def _is_telling(hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _is_telling(arguments[0])
    if origin in _CONTAINERS:
        return all(map(_is_telling, arguments))
    return origin in (typing.Literal, collections.abc.Callable) or hint in _SCALARS or dataclasses.is_dataclass(hint)
