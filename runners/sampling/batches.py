"""An agent whose completions come call by call, behind the calls of one that streams."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from agents import Agent, Completion, SamplingParams


class Batches:
    """What has been submitted is generated at the next poll, a batch for each call to `submit`.

    Args:
        agent: Any.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._numbers = itertools.count()
        self._waiting: list[tuple[Sequence[Sequence[int]], SamplingParams, list[list[int]]]] = []

    def submit(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[list[int]]:
        """Takes a call for `params.n` completions of each prompt; returns their numbers."""
        numbers = [list(itertools.islice(self._numbers, params.n)) for _ in prompt_token_ids]
        self._waiting.append((prompt_token_ids, params, numbers))
        return numbers

    def poll(self, timeout_s: float = 0.0) -> dict[int, Completion]:
        """Returns every completion submitted, by number, in the order of submission."""
        waiting, self._waiting = self._waiting, []
        return {
            number: completion
            for prompts, params, numbers in waiting
            for group, completions in zip(numbers, self._agent.generate(prompts, params), strict=True)
            for number, completion in zip(group, completions, strict=True)
        }
