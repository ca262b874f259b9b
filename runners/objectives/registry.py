"""A table of functions by name, which a user may extend."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from typing import Generic, TypeVar

F = TypeVar("F", bound=Callable)


class Registry(dict[str, F], Generic[F]):
    """Maps a name to a function; `kind` is what the error messages call the functions."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def register(self, name: str) -> Callable[[F], F]:
        """Returns a decorator that enters a function under `name`; a later one of the same name wins."""

        def enter(function: F) -> F:
            self[name] = function
            return function

        return enter

    def lookup(self, name: str) -> F:
        """Returns the function called `name`, or the one at "package.module:function".

        The second form needs no registration, so it also works in a worker process that never ran the user's script.

        Raises:
            ValueError: If there is none; the message lists the known names.
        """
        if name in self:
            return self[name]
        module, colon, attribute = name.partition(":")
        if colon:
            try:
                return getattr(importlib.import_module(module), attribute)
            except (ImportError, AttributeError) as error:
                raise ValueError(f"The {self.kind} {name!r} cannot be imported: {error}.") from error
        raise ValueError(
            f"Unknown {self.kind} {name!r}.{did_you_mean(name, self)} Known: {', '.join(sorted(self))}; or give your "
            f"own as 'package.module:function'."
        )


def did_you_mean(name: str, known: dict[str, F] | tuple[str, ...]) -> str:
    """Returns " Did you mean 'x'?" for the closest known name, else nothing.

    >>> did_you_mean("token_mean", ("token-mean", "sequence-mean"))
    " Did you mean 'token-mean'?"
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
