"""The SGLang agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents.base import SamplingParams
from agents.engine_agent import EngineAgent
from agents.owned_engine import OwnedEngine
from agents.sglang_agent.cpu import cpu_settings
from agents.sglang_agent.sampling import requests
from agents.sglang_agent.server import Server


class SGLangAgent(EngineAgent):
    """Samples with SGLang (https://docs.sglang.io), in a process of its own or behind a URL.

    SGLang reports log-probabilities before top-k and top-p, so sampling with either is refused: use temperature alone,
    or another engine. It seeds single requests only with its option `enable_deterministic_inference=True`; without it
    `SamplingParams.seed` has no effect (a warning says so once) and its option `random_seed` decides.

    The options and errors are those of `EngineAgent`. Of them:

    - `url` is of a running `python -m sglang.launch_server --model-path MODEL`.
    - `timeout_s`: an owned engine makes progress when a completion is finished.
    - Engine options are those of `sglang.Engine`: `tp_size`, `mem_fraction_static`, `attention_backend`,
      `random_seed`, ...
    """

    engine = "sglang"
    sleep_option = "enable_memory_saver"

    def start(self, options: dict[str, Any], **timeouts: float) -> OwnedEngine:
        """Returns a new engine; options of `sglang.Engine` win over the defaults here."""
        model, max_model_len = options.pop("model"), options.pop("max_model_len")
        cpu_options, cpu_environment = cpu_settings()
        owned = OwnedEngine(
            "sglang",
            "agents.sglang_agent.engine:Engine",
            # SGLang keeps the context's last seven positions for itself.
            options={"model_path": model, "context_length": max_model_len + 8, **options},
            # Token ids go in and out, and every sampling field is explicit.
            defaults={"skip_tokenizer_init": True, **cpu_options},
            environment={
                # The few positions over the checkpoint's context that SGLang keeps for itself are never reached.
                "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN": "1",
                **cpu_environment,
            },
            **timeouts,
        )
        self._adapt_to(owned.process.call("sizes"), bool(options.get("enable_deterministic_inference")))
        return owned

    def connect(self, url: str, engine_options: dict[str, Any], *, timeout_s: float) -> Server:
        """Returns the server at a URL."""
        server = Server(url, engine_options, timeout_s=timeout_s)
        self._adapt_to(server.sizes, server.seeds_requests)
        return server

    def requests(self, prompts: Sequence[Sequence[int]], params: SamplingParams) -> list[dict[str, Any]]:
        """Returns a request for one completion of each prompt, as SGLang's `sampling_params` name it."""
        return requests(
            prompts,
            params,
            end_token_ids=self.end_token_ids,
            max_model_len=self.max_model_len,
            seeds_requests=self._seeds_requests,
        )

    def _adapt_to(self, sizes: Mapping[str, int], seeds_requests: bool) -> None:
        self._seeds_requests = seeds_requests
        # Pipeline stages and replicas have no ranks of their own in a weight group.
        if sizes["pp_size"] > 1 or sizes["dp_size"] > 1:
            self.weight_transfers = ()
