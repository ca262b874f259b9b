"""The episodes of one problem while they are sampled."""

from __future__ import annotations

import time
from collections.abc import Sequence

from runners.sampling.episode import Episode
from runners.sampling.rollout import GroupReset, Rollout, SampleRequest


class Group:
    """G episodes of one problem.

    Args:
        reset: The problem.
        request: What it is part of.
        episodes: [G], reset alike.

    Attributes:
        num_open: Episodes that have not ended.
        begun_at, ended_at: Seconds since 1970; ended_at is NaN until then.
    """

    def __init__(self, reset: GroupReset, request: SampleRequest, episodes: Sequence[Episode]) -> None:
        self.reset, self.request, self.episodes = reset, request, episodes
        self.num_open = len(episodes)
        self.begun_at, self.ended_at = time.time(), float("nan")

    def end_one(self) -> None:
        """Takes note of an episode's end."""
        self.num_open -= 1
        if not self.num_open:
            self.ended_at = time.time()

    def rollouts(self) -> list[Rollout]:
        """Returns what came of the episodes."""
        return [episode.rollout() for episode in self.episodes]
