"""Continuous batching: new rows take the place of those that have ended.

The library's own (`generate_batch`) gives neither log-probabilities of the distribution sampled from nor a stream of
random numbers for each sequence, and needs paged attention.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from agents.engine_output import EngineOutput
from agents.transformers_agent.decoding import Decoder

# New rows join once they are this share of the running ones: joining copies the cache.
_JOIN_FROM = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Rows to begin: how many, the positions that their cache will hold at most, and what makes their Decoder."""

    rows: int
    positions: int
    begin: Callable[[], Decoder]


class Stream:
    """Completions that are sampled alike, with new ones coming while others go on.

    Args:
        max_positions: Of the cache, as in `Decoder.positions`; what would lead beyond waits.
    """

    def __init__(self, max_positions: int) -> None:
        self._max_positions = max_positions
        self._waiting: deque[Waiting] = deque()
        self._running: Decoder | None = None

    @property
    def is_open(self) -> bool:
        """Whether there are completions that have not ended."""
        return bool(self._waiting or self._running)

    def wait(self, rows: Iterable[Waiting]) -> None:
        """Takes further rows."""
        self._waiting.extend(rows)

    def step(self, policy_version: int) -> dict[int, EngineOutput]:
        """Lets rows in, and appends a token to each; returns the completions that end with it, by number.

        Args:
            policy_version: Of the model's weights now.
        """
        self._admit()
        if self._running is None:
            return {}
        ended = self._running.step(policy_version)
        if not self._running.num_open:
            self._running = None
        return ended

    def _admit(self) -> None:
        running = self._running
        if running and sum(waiting.rows for waiting in self._waiting) < _JOIN_FROM * running.num_open:
            return
        held = running.positions if running else 0
        new: Decoder | None = None
        while self._waiting and (not held or held + self._waiting[0].positions <= self._max_positions):
            waiting = self._waiting.popleft()
            held += waiting.positions
            new = _joined(new, waiting.begin())
        if new:
            self._running = _joined(running, new)


def _joined(rows: Decoder | None, new: Decoder) -> Decoder:
    if rows is None:
        return new
    rows.join(new)
    return rows
