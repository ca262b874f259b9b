"""Settings as fields of dataclasses: default, type, range and meaning of each stand in one place.

From the fields come the checks here, `GRPOConfig`'s attributes, `--set`, `--help-settings` and docs/settings.md.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import types
import typing
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from agents.names import did_you_mean

S = TypeVar("S")


def setting(
    default: Any,
    meaning: str,
    allowed: str = "",
    ok: Callable[[Any], bool] = lambda value: True,
    *,
    published: bool = False,
) -> Any:
    """Returns a dataclass field.

    Args:
        default: Immutable, or a dictionary, of which every instance gets a copy.
        meaning: One or two sentences.
        allowed: The range in words, behind "it must be"; what the type says need not be said again.
        ok: Whether a value of the right type is in that range; None is always in it where the type admits it.
        published: Whether a published algorithm decides on it; see `objectives.algorithms`.
    """
    metadata = {"meaning": meaning, "allowed": allowed, "ok": ok, "published": published}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def at_least_1(value: float) -> bool:
    """Returns whether value >= 1."""
    return value >= 1


def not_negative(value: float) -> bool:
    """Returns whether value >= 0."""
    return value >= 0


def positive(value: float) -> bool:
    """Returns whether value > 0."""
    return value > 0


def share(value: float) -> bool:
    """Returns whether value is in [0, 1]."""
    return 0 <= value <= 1


class Settings:
    """Base of frozen dataclasses whose fields are made by `setting`.

    Raises:
        ValueError: For a value of another type, or out of its range.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        """Checks every field by itself; what concerns several is the subclass's."""
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(typing.cast(Any, self)):
            value, ok = getattr(self, field.name), field.metadata["ok"]
            if not fits(value, hints[field.name]) or (value is not None and not ok(value)):
                raise ValueError(f"{field.name}={value!r}, but it must be {allowed_words(field, hints[field.name])}.")


def from_mapping(cls: type[S], values: Mapping[str, Any]) -> S:
    """Returns one of these dataclasses; what is not given has its default.

    Raises:
        ValueError: For an unknown name, or a value that is not allowed.
    """
    known = fields_of((cls,))
    for name in values:
        if name not in known:
            raise unknown_setting(str(name), list(known))
    return cls(**values)


def fits(value: Any, hint: Any) -> bool:
    """Returns whether a value is of a type: an int is a float too, True is no number, and a float is finite.

    >>> fits(3, float), fits(True, int), fits(None, int | None), fits([0.9, 0.95], tuple[float, float])
    (True, False, True, True)
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
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
    if hint is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return isinstance(value, hint)


def allowed_words(field: dataclasses.Field[Any], hint: Any) -> str:
    """Returns what a field may be, in words.

    >>> allowed_words(dataclasses.field(metadata={"allowed": ">= 1"}), int | None)
    'an int >= 1, or None'
    """
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    # What a list may be stands in the field's own words.
    named = [option for option in options if option is not type(None) and typing.get_origin(option) is not list]
    words = " or ".join(map(_type_words, named))
    words = " ".join(part for part in (words, field.metadata["allowed"]) if part)
    return f"{words}, or None" if type(None) in options else words


def fields_of(nouns: Iterable[type]) -> dict[str, dataclasses.Field[Any]]:
    """Returns name -> field of every setting of several dataclasses; no name stands in two of them."""
    found: dict[str, dataclasses.Field[Any]] = {}
    for noun in nouns:
        for field in dataclasses.fields(noun):
            assert field.name not in found, field.name
            found[field.name] = field
    return found


def default_of(field: dataclasses.Field[Any]) -> Any:
    """Returns a field's default."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def unknown_setting(name: str, known: Sequence[str]) -> ValueError:
    """Returns the error for a name that no setting has."""
    return ValueError(f"There is no setting {name!r}.{did_you_mean(name, known)} Known here: {', '.join(known)}.")


def tables(nouns: Iterable[type], only: Container[str] | None = None) -> str:
    """Returns a table of settings for each dataclass under its first line, as docs/settings.md shows them.

    Args:
        nouns: The dataclasses.
        only: Names of those that are shown; None shows all.
    """
    blocks = []
    for noun in nouns:
        hints = typing.get_type_hints(noun)
        rows = [
            f"| `{field.name}` | `{default_of(field)!r}` | {allowed_words(field, hints[field.name])} "
            f"| {field.metadata['meaning']} |"
            for field in dataclasses.fields(noun)
            if only is None or field.name in only
        ]
        if not rows:
            continue
        title = (noun.__doc__ or "").strip().splitlines()[0]
        blocks.append(
            "\n".join([f"### {title}\n", "| name | default | allowed | meaning |", "|---|---|---|---|", *rows])
        )
    return "\n\n".join(blocks)


def _type_words(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(repr(option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return f"{len(typing.get_args(hint))} numbers"
    names = {int: "an int", float: "a number", str: "a text", bool: "True or False"}
    return names.get(hint, "a dictionary")
