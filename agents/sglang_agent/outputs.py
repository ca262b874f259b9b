"""SGLang's answers as `EngineOutput`s; the engine and the server give the same ones."""

from __future__ import annotations

from typing import Any

from agents.engine_agent import EngineOutput


def outputs(result: dict[str, Any] | list[dict[str, Any]]) -> list[EngineOutput]:
    """Returns the n completions of one request; SGLang gives a bare dictionary for n = 1."""
    return [_output(item) for item in ([result] if isinstance(result, dict) else result)]


def _output(item: dict[str, Any]) -> EngineOutput:
    meta = item["meta_info"]
    reason = meta["finish_reason"]["type"]
    return EngineOutput(
        tuple(item["output_ids"]),
        tuple(logprob for logprob, *_ in meta["output_token_logprobs"]),
        reason if reason in ("stop", "length") else "abort",
    )
