"""Mistakes of the user against faults of the program: the one gets a line, the other its whole traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """What the user can mend; the message is all there is to say."""


@contextmanager
def users_mistakes() -> Iterator[None]:
    """Takes what is raised here for the user's mistake: everything made in here is what the user named.

    Raises:
        UserError: In the place of a ValueError or an ImportError. Any other exception stays what it is.
    """
    try:
        yield
    except (ValueError, ImportError) as error:
        raise error if isinstance(error, UserError) else UserError(str(error)) from error
