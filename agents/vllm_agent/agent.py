"""The vLLM agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.base import SamplingParams
from agents.engine_agent import EngineAgent
from agents.owned_engine import OwnedEngine
from agents.vllm_agent.engine import start_engine
from agents.vllm_agent.sampling import requests
from agents.vllm_agent.server import Server


class VLLMAgent(EngineAgent):
    """Samples with vLLM (https://docs.vllm.ai), in a process of its own or behind a URL.

    The options and errors are those of `EngineAgent`. Of them:

    - `url` is of a running `vllm serve MODEL --logprobs-mode processed_logprobs`. For `update_weights` the server also
      needs the environment variable VLLM_SERVER_DEV_MODE=1 and
      `--worker-extension-cls agents.vllm_agent.worker.WeightsExtension`. Without a GPU, seeds need
      `--no-enable-chunked-prefill --max-num-batched-tokens 8192`.
    - Engine options are those of `vllm.LLM`: `tensor_parallel_size`, `gpu_memory_utilization`, `attention_backend`,
      `seed` (fresh by default, so that replicas differ), ...
    """

    engine = "vllm"
    sleep_option = "enable_sleep_mode"

    def start(self, options: dict[str, Any], **timeouts: float) -> OwnedEngine:
        """Returns a new engine."""
        return start_engine(options, **timeouts)

    def connect(self, url: str, engine_options: dict[str, Any], *, timeout_s: float) -> Server:
        """Returns the server at a URL."""
        return Server(url, engine_options, timeout_s=timeout_s)

    def requests(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[dict[str, Any]]:
        """Returns one request a prompt, as `vllm.SamplingParams` names it."""
        return requests(prompt_token_ids, params, end_token_ids=self.end_token_ids, max_model_len=self.max_model_len)
