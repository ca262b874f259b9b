"""SGLang's answers as `EngineOutput`s; the engine and the server give the same ones."""

from __future__ import annotations

from typing import Any

from agents.engine_output import EngineOutput, engine_output


def outputs(result: dict[str, Any] | list[dict[str, Any]]) -> list[EngineOutput]:
    """Returns the n completions of one request; SGLang gives a bare dictionary for n = 1."""
    return [_output(item) for item in ([result] if isinstance(result, dict) else result)]


def _output(item: dict[str, Any]) -> EngineOutput:
    meta = item["meta_info"]
    logprobs = (logprob for logprob, *_ in meta["output_token_logprobs"])
    return engine_output(item["output_ids"], logprobs, meta["finish_reason"]["type"])
