"""SGLang's HTTP server behind a URL. The fields are those of SGLang 0.5.23 (`sglang.srt.managers.io_struct`)."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from agents.engine_output import EngineOutput
from agents.engine_server import EngineServer
from agents.sglang_agent.sampling import output
from agents.sglang_agent.weight_loading import SIZES, WeightLoading
from agents.weight_sources import RemoteWeights


class Server(EngineServer):
    """Speaks to a running `sglang.launch_server`."""

    command = "sglang.launch_server"
    info_path = "/server_info"

    def __init__(self, url: str, engine_options: Mapping[str, Any], *, timeout_s: float) -> None:
        super().__init__(url, engine_options, timeout_s=timeout_s)
        info = self.client.get(self.info_path)
        self.sizes: dict[str, int] = {name: info[name] for name in SIZES}
        # A prompt must be shorter than this, and a few more positions are left for the completion.
        self.max_model_len = info["max_req_input_len"]
        self.seeds_requests: bool = info["enable_deterministic_inference"]
        self._weights = WeightLoading(self._post)

    def complete(self, prompt: list[int], sampling: dict[str, Any]) -> EngineOutput:
        """Returns one completion."""
        common = {"input_ids": prompt, "return_logprob": True, "logprob_start_len": -1}
        return output(self.client.post("/generate", {**common, "sampling_params": sampling}))

    def num_workers(self) -> int:
        """Returns how many processes hold the server's model."""
        return prod(self.sizes.values())

    def load_weights(self, source: RemoteWeights, policy_version: int) -> None:
        """Has the server load weights that fit the model; it drops its radix cache with it."""
        self._weights.load(source)

    def restart(self) -> None:
        """Looks whether the server is there again, which is in no weight group then."""
        super().restart()
        self._weights = WeightLoading(self._post)

    def _post(self, name: str, arguments: dict[str, Any]) -> None:
        # A refusal (the folder is not there, say) is an error status, so a ValueError with SGLang's message.
        self.client.post(f"/{name}", arguments)
