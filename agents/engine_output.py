"""One completion as an engine returns it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from agents.base import FinishReason


class EngineOutput(NamedTuple):
    """Ids [T], log-probabilities [T], and how the completion ended."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason


def engine_output(token_ids: Iterable[int], logprobs: Iterable[float], reason: Any) -> EngineOutput:
    """Returns the output; a reason that is neither "stop" nor "length" is "abort"."""
    return EngineOutput(tuple(token_ids), tuple(logprobs), reason if reason in ("stop", "length") else "abort")
