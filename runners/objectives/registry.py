"""A table by name, of functions or specifications, which a user may extend."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from agents.names import did_you_mean

T = TypeVar("T")


class Registry(dict[str, T], Generic[T]):
    """Maps a name to an entry.

    Args:
        kind: What the error messages call an entry.
        entry_type: What an entry must be, for `isinstance`.
    """

    def __init__(self, kind: str, entry_type: Any = Callable) -> None:
        super().__init__()
        self.kind = kind
        self.entry_type = entry_type

    def register(self, name: str) -> Callable[[T], T]:
        """Returns a decorator that enters what it decorates under `name`; a later entry of the same name wins."""

        def enter(entry: T) -> T:
            self[name] = entry
            return entry

        return enter

    def lookup(self, name: str) -> T:
        """Returns the entry called `name`, or what stands at "package.module:name".

        The second form needs no registration, so it also works in a worker process that never ran the user's script.

        Raises:
            ValueError: If there is none, or it is of another type; the message says what is known.
        """
        if name in self:
            return self[name]
        if ":" in name:
            return self._import(name)
        raise ValueError(
            f"Unknown {self.kind} {name!r}.{did_you_mean(name, self)} Known: {', '.join(sorted(self))}; or give your "
            f"own as 'package.module:name'. (What a script registers is known in its own process only, and a remote "
            f"learner is another.)"
        )

    def _import(self, name: str) -> T:
        module_name, _, attribute = name.partition(":")
        if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
            raise ValueError(f"The {self.kind} {name!r} is not of the form package.module:name.")
        try:
            entry = getattr(importlib.import_module(module_name), attribute)
        except ImportError as error:
            raise ValueError(
                f"The {self.kind} {name!r} cannot be imported: {error}. Its folder must be the current one or on "
                f"PYTHONPATH."
            ) from error
        except AttributeError as error:
            raise ValueError(f"The {self.kind} {name!r} cannot be imported: {error}.") from error
        if not isinstance(entry, self.entry_type):
            expected = getattr(self.entry_type, "__name__", self.entry_type)
            raise ValueError(f"The {self.kind} {name!r} is a {type(entry).__name__}; it must be a {expected}.")
        return entry
