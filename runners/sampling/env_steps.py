"""The environments' steps: one after another, or in threads of which none keeps the others waiting."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque

from runners.sampling.episode import Episode


class EnvSteps:
    """Steps the environments of episodes.

    Args:
        threads: Steps at once, each in a thread of its own; 0 makes each where it is begun.
        timeout_s: Seconds after which a thread's step is given up, and with it the episode's reward. The thread cannot
            be ended: it is left behind, with its environment.
    """

    def __init__(self, threads: int = 0, timeout_s: float | None = None) -> None:
        self._threads, self._timeout_s = threads, timeout_s
        self._waiting: deque[Episode] = deque()
        self._deadlines: dict[Episode, float] = {}
        self._answers: queue.SimpleQueue[tuple[Episode, object, BaseException | None]] = queue.SimpleQueue()
        self._ended: list[Episode] = []
        self._late: list[Episode] = []

    def __len__(self) -> int:
        """Returns how many have not been given back."""
        return len(self._waiting) + len(self._deadlines) + len(self._ended)

    def begin(self, episode: Episode) -> None:
        """Steps the episode's environment, now or in a thread."""
        if self._threads:
            self._waiting.append(episode)
            self._fill()
        else:
            episode.answer(episode.step())
            self._ended.append(episode)

    def ended(self, timeout_s: float) -> list[Episode]:
        """Returns the episodes whose step is done or given up, waiting for the first at most `timeout_s`.

        Raises:
            Exception: What a step raised.
        """
        if self._threads:
            self._collect(timeout_s)
        ended, self._ended = self._ended, []
        return ended

    def pop_late(self) -> list[Episode]:
        """Returns the episodes whose step was given up since this was last asked."""
        late, self._late = self._late, []
        return late

    def in_threads(self) -> list[Episode]:
        """Returns the episodes whose step is under way, or done and not given back."""
        return list(self._deadlines)

    def _fill(self) -> None:
        while self._waiting and len(self._deadlines) < self._threads:
            episode = self._waiting.popleft()
            self._deadlines[episode] = time.monotonic() + self._timeout_s if self._timeout_s else float("inf")
            threading.Thread(target=self._step, args=(episode,), name="env-step", daemon=True).start()

    def _step(self, episode: Episode) -> None:
        try:
            self._answers.put((episode, episode.step(), None))
        except BaseException as error:  # is raised again where the episode is asked for
            self._answers.put((episode, None, error))

    def _collect(self, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        while self._deadlines:
            # Once there is one, the rest is taken without waiting.
            wait_s = 0.0 if self._ended else min(until, *self._deadlines.values()) - time.monotonic()
            try:
                episode, returned, error = self._answers.get(timeout=max(0.0, wait_s))
            except queue.Empty:
                self._give_up()
                return
            if self._deadlines.pop(episode, None) is None:
                continue  # given up before
            if error is not None:
                raise error
            episode.answer(returned)
            self._ended.append(episode)
            self._fill()

    def _give_up(self) -> None:
        now = time.monotonic()
        for episode in [episode for episode, deadline in self._deadlines.items() if deadline <= now]:
            del self._deadlines[episode]
            episode.lose()
            self._ended.append(episode)
            self._late.append(episode)
        self._fill()
