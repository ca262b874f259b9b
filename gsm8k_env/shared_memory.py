"""How ``AsyncVectorEnv`` carries ``UnicodeText`` observations between processes.

Gymnasium reads its shared memory once and returns that object at every step. For arrays this is a view and stays
current; for ``Text`` it is a tuple of the texts at the start, so observations never change (Gymnasium 1.2.2,
``AsyncVectorEnv(shared_memory=True)``, which is the default). The three functions that Gymnasium lets a space provide
are provided here: memory with each text's length before it, and a batch that is read when it is copied.
"""

import multiprocessing
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from gymnasium.vector.utils import create_shared_memory, read_from_shared_memory, write_to_shared_memory

from gsm8k_env.spaces import UnicodeText


@create_shared_memory.register(UnicodeText)
def _create(space: UnicodeText, n: int = 1, ctx: Any = multiprocessing) -> Any:
    return ctx.Array(np.dtype(np.int32).char, n * (1 + space.max_length))


@write_to_shared_memory.register(UnicodeText)
def _write(space: UnicodeText, index: int, value: str, shared_memory: Any) -> None:
    cells = _cells(space, shared_memory)[index]
    codes = np.frombuffer(value.encode("utf-32-le", "surrogatepass"), dtype="<i4")
    cells[1 : 1 + len(codes)] = codes
    cells[0] = len(codes)


@read_from_shared_memory.register(UnicodeText)
def _read(space: UnicodeText, shared_memory: Any, n: int = 1) -> "LiveTexts":
    return LiveTexts(_cells(space, shared_memory))


class LiveTexts(Sequence[str]):
    """The texts that are in shared memory now; a deep copy is a tuple of them.

    Args:
        cells: int32 [n, 1 + max_length]; each row is a text's length and its code points.
    """

    def __init__(self, cells: np.ndarray) -> None:
        self._cells = cells

    def __len__(self) -> int:
        return len(self._cells)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return tuple(self)[index]
        cells = self._cells[index]
        return cells[1 : 1 + cells[0]].astype("<i4").tobytes().decode("utf-32-le", "surrogatepass")

    def __deepcopy__(self, memo: dict[int, Any]) -> tuple[str, ...]:
        return tuple(self)


def _cells(space: UnicodeText, shared_memory: Any) -> np.ndarray:
    return np.frombuffer(shared_memory.get_obj(), dtype=np.int32).reshape(-1, 1 + space.max_length)
