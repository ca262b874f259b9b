"""vLLM's OpenAI-compatible server behind a URL.

The fields are those of vLLM 0.32 (`vllm.entrypoints.openai.completion.protocol`). `/collective_rpc` and
`/reset_prefix_cache` exist only in its development mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.base import EngineError
from agents.engine_output import EngineOutput, engine_output
from agents.engine_server import EngineServer
from agents.http_client import MissingEndpointError
from agents.vllm_agent.engine import WORKER_EXTENSION
from agents.weight_sources import RemoteWeights, to_json

_HOW_TO_UPDATE = (
    "Weights can be updated only on a server started with the environment variable VLLM_SERVER_DEV_MODE=1 and with "
    f"--worker-extension-cls {WORKER_EXTENSION} (this package must be installed beside it), on a machine that sees the "
    "folder the weights are written to (TMPDIR chooses it)."
)


class Server(EngineServer):
    """Speaks to a running `vllm serve`; one that reports other log-probabilities than those sampled from is refused."""

    command = "vllm serve"
    info_path = "/v1/models"

    def __init__(self, url: str, engine_options: Mapping[str, Any], *, timeout_s: float) -> None:
        super().__init__(url, engine_options, timeout_s=timeout_s)
        served = self.client.get(self.info_path)["data"][0]
        self._model: str = served["id"]
        self.max_model_len = served["max_model_len"]
        self._check_logprobs()

    def complete(self, prompt: list[int], sampling: dict[str, Any]) -> EngineOutput:
        """Returns one completion."""
        answer = self.client.post(
            "/v1/completions", {"model": self._model, "prompt": prompt, "return_token_ids": True, **sampling}
        )
        (choice,) = answer["choices"]
        return engine_output(choice["token_ids"], choice["logprobs"]["token_logprobs"], choice["finish_reason"])

    def num_workers(self) -> int:
        """Returns how many workers hold the model: each answers."""
        return len(self._call("/collective_rpc", {"method": "check_health"})["results"])

    def load_weights(self, source: RemoteWeights, policy_version: int) -> None:
        """Has every worker of the server load the weights, and drops the prefix cache."""
        self._call("/collective_rpc", {"method": "load_weights", "args": [to_json(source)]})
        if not self._call("/reset_prefix_cache", {})["success"]:
            raise EngineError(f"{self.client.url} could not drop its prefix cache: it is serving someone else too.")

    def _call(self, path: str, payload: dict[str, Any]) -> Any:
        try:
            return self.client.post(path, payload)
        except MissingEndpointError as error:
            raise ValueError(f"{error} {_HOW_TO_UPDATE}") from error
        except EngineError as error:
            raise EngineError(f"{error} {_HOW_TO_UPDATE}") from error

    def _check_logprobs(self) -> None:
        """Draws one token with top_k=1: under the distribution sampled from it is certain."""
        probe = {"max_tokens": 1, "temperature": 1.0, "top_k": 1, "top_p": 1.0, "logprobs": 0, "ignore_eos": True}
        output = self.complete([0], probe)
        if abs(output.logprobs[0]) > 1e-3:
            raise ValueError(
                f"{self.client.url} reports log-probabilities of another distribution than the one it samples from. "
                "Start it with: vllm serve MODEL --logprobs-mode processed_logprobs"
            )
