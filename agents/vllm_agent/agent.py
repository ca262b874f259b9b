"""The vLLM agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.base import SamplingParams
from agents.engine_agent import Backend, EngineAgent, check_can_sleep
from agents.models import resolve_model
from agents.transformers_agent.loading import context_length
from agents.vllm_agent.engine import OwnedEngine
from agents.vllm_agent.sampling import requests
from agents.vllm_agent.server import Server


class VLLMAgent(EngineAgent):
    """Samples with vLLM (https://docs.vllm.ai), in a process of its own or behind a URL.

    Args:
        model: A name `agents.models.resolve_model` knows; with a URL, the model that the server serves.
        url: Of a running `vllm serve MODEL --logprobs-mode processed_logprobs`, such as "http://127.0.0.1:8000"; None
            starts an engine. For `update_weights` the server also needs the environment variable
            VLLM_SERVER_DEV_MODE=1, `--worker-extension-cls agents.vllm_agent.worker.WeightsExtension`, and sight of the
            folder the weights are written to (TMPDIR chooses it). Without a GPU, seeds need
            `--no-enable-chunked-prefill --max-num-batched-tokens 8192`.
        dtype: "auto" (float32 without a GPU, else vLLM's choice), "float32", "bfloat16" or "float16".
        max_model_len: Most tokens of prompt and completion; None takes the checkpoint's or the server's.
        timeout_s: Seconds without any progress after which the engine counts as hung; of a server, seconds for the
            completions of one prompt.
        start_timeout_s: Seconds that the start of an engine may take.
        trust_remote_code: Whether the model's folder may run code.
        sampling: What `act` samples with.
        enable_sleep_mode: Whether the engine can free its memory (vLLM's own).
            Needs an owned engine on a GPU.
        **engine_options: Passed to `vllm.LLM` untouched, before any default chosen here: `tensor_parallel_size`,
            `gpu_memory_utilization`, `attention_backend`, `seed` (fresh by default, so that replicas differ), ...

    Raises:
        ValueError: For an option that vLLM refuses, or a server that cannot be used; the message says why.
        EngineError: If the engine cannot be started or reached.
    """

    def __init__(
        self,
        model: str = "tiny",
        *,
        url: str | None = None,
        dtype: str = "auto",
        max_model_len: int | None = None,
        timeout_s: float = 120.0,
        start_timeout_s: float = 900.0,
        trust_remote_code: bool = False,
        sampling: SamplingParams | None = None,
        enable_sleep_mode: bool = False,
        **engine_options: Any,
    ) -> None:
        if enable_sleep_mode:
            check_can_sleep("vllm", url)
            engine_options["enable_sleep_mode"] = True
        folder = resolve_model(model)
        backend: Backend
        if url is None:
            max_model_len = max_model_len or context_length(folder, trust_remote_code=trust_remote_code)
            options = {
                "model": str(folder),
                "dtype": dtype,
                "max_model_len": max_model_len,
                "trust_remote_code": trust_remote_code,
                **engine_options,
            }
            backend = OwnedEngine(options, timeout_s=timeout_s, start_timeout_s=start_timeout_s)
        else:
            server = Server(url, engine_options, timeout_s=timeout_s)
            max_model_len = min(max_model_len or server.max_model_len, server.max_model_len)
            backend = server
        super().__init__(
            folder,
            backend,
            max_model_len=max_model_len,
            sampling=sampling,
            trust_remote_code=trust_remote_code,
        )

    def requests(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[dict[str, Any]]:
        """Returns one request a prompt, as `vllm.SamplingParams` names it."""
        return requests(prompt_token_ids, params, end_token_ids=self.end_token_ids, max_model_len=self.max_model_len)
