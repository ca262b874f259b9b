"""vLLM's answers as `EngineOutput`s: the engine's objects and the server's JSON."""

from __future__ import annotations

from typing import Any

from agents.engine_agent import EngineOutput


def engine_output(completion: Any) -> EngineOutput:
    """Returns a `vllm.CompletionOutput` as an `EngineOutput`."""
    ids = tuple(completion.token_ids)
    logprobs = tuple(step[token].logprob for step, token in zip(completion.logprobs, ids, strict=True))
    return EngineOutput(ids, logprobs, _finish_reason(completion.finish_reason))


def server_output(choice: dict[str, Any]) -> EngineOutput:
    """Returns a choice of POST /v1/completions as an `EngineOutput`."""
    return EngineOutput(
        tuple(choice["token_ids"]),
        tuple(choice["logprobs"]["token_logprobs"]),
        _finish_reason(choice["finish_reason"]),
    )


def _finish_reason(reason: str | None) -> Any:
    return reason if reason in ("stop", "length") else "abort"
