"""Any environment of this project, with its steps and the tokens of its actions counted in files.

`gym.make("_counted_env:Counted-v0", env="gsm8k_env:GSM8K-v0", counts=FOLDER, ...)` makes one. Every process counts in
a file of its own, which is right after each step, however the process ends.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorWrapper
from transformers import AutoTokenizer

COUNTED = "_counted_env:Counted-v0"
_NAMES = ("steps", "tokens")
_files: dict[Path, np.ndarray] = {}
_tokenizers: dict[str, Any] = {}


class Counter:
    """Counts actions.

    A text counts as the tokens that the tokenizer makes of it and the end token, `limit` at most; any other action is
    one token.

    Args:
        counts: Folder of the counts.
        tokenizer: Folder or id.
        limit: max_tokens of a completion.
    """

    def __init__(self, counts: Path, tokenizer: str, limit: int) -> None:
        self._counts, self._limit = _file_of(counts), limit
        if tokenizer not in _tokenizers:
            _tokenizers[tokenizer] = AutoTokenizer.from_pretrained(tokenizer)
        self._tokenizer = _tokenizers[tokenizer]

    def count(self, action: Any) -> None:
        """Counts one."""
        self._counts += (1, self._tokens(action))

    def _tokens(self, action: Any) -> int:
        if not isinstance(action, str):
            return 1
        token_ids = self._tokenizer(action, add_special_tokens=False).input_ids
        return min(len(token_ids) + 1, self._limit)


class Counted(gym.Wrapper[Any, Any, Any, Any]):
    """An environment whose actions are counted."""

    def __init__(self, env: gym.Env[Any, Any], counter: Counter) -> None:
        super().__init__(env)
        self._counter = counter

    def step(self, action: Any) -> Any:
        """Counts the action, and steps the environment."""
        self._counter.count(action)
        return self.env.step(action)


class CountedVector(VectorWrapper):
    """The same of the native vector form."""

    def __init__(self, envs: gym.vector.VectorEnv[Any, Any, Any], counter: Counter) -> None:
        super().__init__(envs)
        self._counter = counter

    def step(self, actions: Any) -> Any:
        """Counts the actions, and steps the environments."""
        for action in actions:
            self._counter.count(action)
        return self.env.step(actions)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)


def read_counts(counts: Path) -> dict[str, int]:
    """Returns {"steps", "tokens"} of all processes."""
    files = [np.fromfile(path, np.int64) for path in counts.glob("*.counts")]
    return dict(zip(_NAMES, map(int, sum(files, np.zeros(2, np.int64))), strict=True))


def _file_of(counts: Path) -> np.ndarray:
    path = counts / f"{os.getpid()}.counts"
    if path not in _files:
        counts.mkdir(parents=True, exist_ok=True)
        _files[path] = np.memmap(path, np.int64, mode="w+", shape=(2,))
    return _files[path]


def _make(env: str, counts: str, counted_by: str, limit: int, **options: Any) -> Counted:
    made = gym.make(env, disable_env_checker=True, **options)
    return Counted(made, Counter(Path(counts), counted_by, limit))


def _make_vector(num_envs: int, env: str, counts: str, counted_by: str, limit: int, **options: Any) -> CountedVector:
    made = gym.make_vec(env, num_envs=num_envs, **options)
    return CountedVector(made, Counter(Path(counts), counted_by, limit))


gym.register(
    id="Counted-v0",
    entry_point=_make,  # type: ignore[arg-type]
    vector_entry_point=_make_vector,  # type: ignore[arg-type]
    order_enforce=False,
    disable_env_checker=True,
)
