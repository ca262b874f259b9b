"""The space of all Unicode text up to a length.

Gymnasium's ``Text`` lists its characters and samples every length alike. Completions may hold any character, and a
uniform sample below a million characters takes seconds, so this subclass keeps the alphabet implicit and samples
short printable text. As a ``Text`` it still batches and flattens like one.
"""

import string
import sys
from collections.abc import Iterator, Set
from typing import Any, cast

import numpy as np
from gymnasium import spaces

MAX_PROMPT_LENGTH = 2**14
"""Characters in an observation; the longest official question has 985. ``AsyncVectorEnv`` reserves four bytes a
character and environment in shared memory, so the bound is generous but not unlimited."""

MAX_COMPLETION_LENGTH = 2**20
"""Characters in an action: above what models with a context of 128k tokens usually write."""

_SAMPLE_LENGTH = 256
_SAMPLE_ALPHABET = np.array(list(string.digits + string.ascii_letters + string.punctuation + " "))


class _CodePoints(Set[str]):
    """Every Unicode code point, in order, without holding them: the implicit alphabet of ``UnicodeText``."""

    __slots__ = ()

    def __contains__(self, item: object) -> bool:
        return isinstance(item, str) and len(item) == 1

    def __len__(self) -> int:
        return sys.maxunicode + 1

    def __iter__(self) -> Iterator[str]:
        return map(chr, range(len(self)))

    def __getitem__(self, index: int) -> str:
        return chr(index)


_CODE_POINTS = _CodePoints()


class UnicodeText(spaces.Text):
    """Every str of at most ``max_length`` characters, the empty one included.

    Args:
        max_length: The greatest length, in characters (code points).
        seed: Seed of ``sample``, which draws up to 256 printable ASCII characters.

    >>> space = UnicodeText(10)
    >>> "" in space, "π ≈ 3" in space, "x" * 11 in space, 3 in space
    (True, True, False, False)
    """

    def __init__(self, max_length: int, *, seed: int | np.random.Generator | None = None) -> None:
        super().__init__(max_length, min_length=0, charset="", seed=seed)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Returns a random text of up to 256 printable ASCII characters, or of the length a mask names.

        Args:
            mask: None, or ``(length, None)`` as in ``spaces.Text``.
            probability: Likewise; at most one of the two.

        Raises:
            ValueError: Both are given, or one that weighs characters: there are 1,114,112 of them.
        """
        given = [chosen for chosen in (mask, probability) if chosen is not None]
        if len(given) > 1 or any(len(chosen) != 2 or chosen[1] is not None for chosen in given):
            raise ValueError(f"UnicodeText samples with mask=None or mask=(length, None), got {mask=} {probability=}.")
        length = given[0][0] if given else None
        if length is None:
            length = self.np_random.integers(min(self.max_length, _SAMPLE_LENGTH) + 1)
        return "".join(self.np_random.choice(_SAMPLE_ALPHABET, size=length))

    def contains(self, x: Any) -> bool:
        """Returns whether ``x`` is a str that is short enough."""
        return isinstance(x, str) and len(x) <= self.max_length

    @property
    def character_set(self) -> frozenset[str]:
        """Every Unicode code point, as a set that is computed rather than stored."""
        return cast(frozenset[str], _CODE_POINTS)

    @property
    def character_list(self) -> tuple[str, ...]:
        """The same in order of the code points, by index."""
        return cast(tuple[str, ...], _CODE_POINTS)

    def character_index(self, char: str) -> np.int32:
        """Returns the code point of a character, which is its index in ``character_list``."""
        return np.int32(ord(char))

    @property
    def characters(self) -> str:
        """All 1,114,112 characters as one str, made anew at each call."""
        return "".join(_CODE_POINTS)

    def __repr__(self) -> str:
        return f"UnicodeText({self.max_length})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnicodeText) and self.max_length == other.max_length
