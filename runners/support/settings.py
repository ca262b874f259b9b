"""Settings as fields of dataclasses: default, type, range and meaning of each stand in one place.

From the fields come the checks here, `GRPOConfig`'s attributes, `--set`, `--help-settings` and docs/settings.md.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from agents.names import did_you_mean
from agents.values import fits, words_of

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


def not_negative(value: float) -> bool:
    """Returns whether value >= 0."""
    return value >= 0


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
        hints = typing.get_type_hints(type(self), include_extras=True)
        for field in dataclasses.fields(typing.cast(Any, self)):
            value, ok = getattr(self, field.name), field.metadata["ok"]
            if not fits(value, hints[field.name]) or (value is not None and not ok(value)):
                raise ValueError(f"{field.name}={value!r}, but it must be {_allowed_words(field, hints)}.")


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
        hints = typing.get_type_hints(noun, include_extras=True)
        rows = [
            f"| `{field.name}` | `{default_of(field)!r}` | {_allowed_words(field, hints)} "
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


def _allowed_words(field: dataclasses.Field[Any], hints: Mapping[str, Any]) -> str:
    return words_of(hints[field.name], field.metadata["allowed"])
