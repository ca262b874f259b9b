"""The vLLM agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.base import SamplingParams
from agents.engine_agent import EngineAgent
from agents.owned_engine import OwnedEngine
from agents.vllm_agent.cpu import cpu_settings
from agents.vllm_agent.engine import WORKER_EXTENSION
from agents.vllm_agent.sampling import requests
from agents.vllm_agent.server import Server

# What `max_lora_rank` may be.
_ADAPTER_SIZES = (1, 8, 16, 32, 64, 128, 256, 320, 512)


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
    loads_in_flight = True
    sleep_option = "enable_sleep_mode"

    def start(self, options: dict[str, Any], **timeouts: float) -> OwnedEngine:
        """Returns a new engine; options of `vllm.LLM` win over the defaults here."""
        cpu_options, cpu_environment = cpu_settings(options)
        return OwnedEngine(
            "vllm",
            "agents.vllm_agent.engine:Engine",
            options=options,
            defaults={
                # The distribution sampled from, not the model's own.
                "logprobs_mode": "processed_logprobs",
                # Every sampling field is explicit; nothing is read from the checkpoint.
                "generation_config": "vllm",
                "enable_prefix_caching": True,
                "worker_extension_cls": WORKER_EXTENSION,
                "disable_log_stats": True,
                **cpu_options,
            },
            environment={
                # One process less: the child is ours already, and weights reach the model without being serialised.
                "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
                "VLLM_NO_USAGE_STATS": "1",
                "VLLM_LOGGING_LEVEL": "WARNING",
                **cpu_environment,
            },
            **timeouts,
        )

    def serving_adapter(self, rank: int) -> dict[str, Any]:
        """Returns vLLM's options for one adapter: its sizes go up to 512, and it computes with the size's padding."""
        size = next((size for size in _ADAPTER_SIZES if size >= rank), rank)
        return {"enable_lora": True, "max_loras": 1, "max_lora_rank": size}

    def connect(self, url: str, engine_options: dict[str, Any], *, timeout_s: float) -> Server:
        """Returns the server at a URL."""
        return Server(url, engine_options, timeout_s=timeout_s)

    def requests(self, prompts: Sequence[Sequence[int]], params: SamplingParams) -> list[dict[str, Any]]:
        """Returns a request for one completion of each prompt, as `vllm.SamplingParams` names it."""
        return requests(prompts, params, end_token_ids=self.end_token_ids, max_model_len=self.max_model_len)
