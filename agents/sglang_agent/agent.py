"""The SGLang agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.base import SamplingParams
from agents.engine_agent import Backend, EngineAgent, check_can_sleep
from agents.models import resolve_model
from agents.sglang_agent.engine import OwnedEngine
from agents.sglang_agent.sampling import requests
from agents.sglang_agent.server import Server
from agents.transformers_agent.loading import context_length


class SGLangAgent(EngineAgent):
    """Samples with SGLang (https://docs.sglang.io), in a process of its own or behind a URL.

    SGLang reports log-probabilities before top-k and top-p, so sampling with either is refused: use temperature alone,
    or another engine. It seeds single requests only with its option `enable_deterministic_inference=True`; without it
    `SamplingParams.seed` has no effect (a warning says so once) and its option `random_seed` decides.

    Args:
        model: A name `agents.models.resolve_model` knows; with a URL, the model that the server serves.
        url: Of a running `python -m sglang.launch_server --model-path MODEL`, such as "http://127.0.0.1:30000"; None
            starts an engine. `update_weights` writes to a folder that the server must see (TMPDIR chooses it).
        dtype: "auto" (float32 without a GPU, else SGLang's choice), "float32", "bfloat16" or "float16".
        max_model_len: Most tokens of prompt and completion; None takes the checkpoint's or the server's.
        timeout_s: Seconds without any progress after which the engine counts as hung (an owned engine makes progress
            when a prompt is finished); of a server, seconds for the completions of one prompt.
        start_timeout_s: Seconds that the start of an engine may take.
        trust_remote_code: Whether the model's folder may run code.
        sampling: What `act` samples with.
        enable_sleep_mode: Whether the engine can free its memory (SGLang's `enable_memory_saver`).
            Needs an owned engine on a GPU.
        **engine_options: Passed to `sglang.Engine` untouched, before any default chosen here: `tp_size`,
            `mem_fraction_static`, `attention_backend`, `random_seed`, ...

    Raises:
        ValueError: For an option that SGLang refuses, or a server that cannot be used; the message says why.
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
            check_can_sleep("sglang", url)
            engine_options["enable_memory_saver"] = True
        folder = resolve_model(model)
        backend: Backend
        if url is None:
            max_model_len = max_model_len or context_length(folder, trust_remote_code=trust_remote_code)
            options = {
                "model_path": str(folder),
                "dtype": dtype,
                # SGLang keeps the context's last seven positions for itself.
                "context_length": max_model_len + 8,
                "trust_remote_code": trust_remote_code,
                **engine_options,
            }
            backend = OwnedEngine(options, timeout_s=timeout_s, start_timeout_s=start_timeout_s)
        else:
            server = Server(url, engine_options, timeout_s=timeout_s)
            max_model_len = min(max_model_len or server.max_model_len, server.max_model_len)
            backend = server
        self._seeds_requests = backend.seeds_requests
        # Pipeline stages and replicas have no ranks of their own in a weight group.
        if backend.sizes["pp_size"] > 1 or backend.sizes["dp_size"] > 1:
            self.weight_transfers = ()
        super().__init__(
            folder,
            backend,
            max_model_len=max_model_len,
            sampling=sampling,
            trust_remote_code=trust_remote_code,
        )

    def requests(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[dict[str, Any]]:
        """Returns one request a prompt, as SGLang's `sampling_params` name it."""
        return requests(
            prompt_token_ids,
            params,
            end_token_ids=self.end_token_ids,
            max_model_len=self.max_model_len,
            seeds_requests=self._seeds_requests,
        )
