"""One completion as an engine is asked for it, and as it returns it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from agents.base import FinishReason


class EngineRequest(NamedTuple):
    """A number to answer with, the prompt's ids, and how to sample one completion in the engine's own words."""

    number: int
    prompt: list[int]
    sampling: dict[str, Any]


class EngineOutput(NamedTuple):
    """Ids [T], log-probabilities [T], how it ended, and [T] the version of the weights that drew each, where known."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    policy_versions: tuple[int, ...] = ()

    def cut(self, count: int) -> EngineOutput:
        """Returns the first `count` tokens, which a text ended."""
        return EngineOutput(self.token_ids[:count], self.logprobs[:count], "stop", self.policy_versions[:count])


def engine_output(
    token_ids: Iterable[int], logprobs: Iterable[float], reason: Any, policy_versions: Iterable[int] = ()
) -> EngineOutput:
    """Returns the output; a reason that is neither "stop" nor "length" is "abort"."""
    reason = reason if reason in ("stop", "length") else "abort"
    return EngineOutput(tuple(token_ids), tuple(logprobs), reason, tuple(policy_versions))
