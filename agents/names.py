"""The nearest of the names that would have been right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the closest known name, else nothing.

    >>> did_you_mean("token_mean", ("token-mean", "sequence-mean"))
    " Did you mean 'token-mean'?"
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
