"""SGLang's HTTP server behind a URL. The fields are those of SGLang 0.5.23 (`sglang.srt.managers.io_struct`)."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.engine_agent import EngineOutput
from agents.http_client import HttpClient
from agents.sglang_agent.outputs import outputs
from agents.sglang_agent.sampling import seeded_singles
from agents.sglang_agent.weight_requests import join_request, num_workers, receive_request
from agents.weight_transfer import TensorSpec, WeightGroup, WeightPart


class Server:
    """Speaks to a running `sglang.launch_server`.

    Args:
        url: Of the server.
        engine_options: Must be empty: a running server has its options.
        timeout_s: Seconds without an answer after which a request has failed.

    Raises:
        ValueError: For engine options.
        EngineError: If it cannot be reached.
    """

    def __init__(self, url: str, engine_options: Mapping[str, Any], *, timeout_s: float) -> None:
        if engine_options:
            raise ValueError(
                f"Give {', '.join(engine_options)} to `sglang.launch_server` itself; with url= they have no effect."
            )
        self._client = HttpClient(url, timeout_s=timeout_s)
        info = self._client.get("/server_info")
        # A prompt must be shorter than this, and a few more positions are left for the completion.
        self.max_model_len: int = info["max_req_input_len"]
        self.seeds_requests: bool = info["enable_deterministic_inference"]

    def generate(
        self, prompts: Sequence[Sequence[int]], requests: Sequence[dict[str, Any]]
    ) -> list[list[EngineOutput]]:
        """Completes N prompts, each in a request of its own; [N][n]."""
        return self._client.each(self._complete, prompts, requests)

    def load_weights(self, folder: Path) -> str:
        """Has the server load the weights of a folder that it sees; it drops its radix cache with it."""
        # A refusal (the folder is not there, say) is an error status, so a ValueError with SGLang's message.
        self._client.post("/update_weights_from_disk", {"model_path": str(folder)})
        return f"update_weights_from_disk of {self._client.url}, from {folder.parent}"

    def num_workers(self) -> int:
        """Returns how many workers hold the model."""
        info = self._client.get("/server_info")
        return num_workers(**{name: info[name] for name in ("tp_size", "pp_size", "dp_size")})

    def load_handles(self, payloads: Sequence[bytes]) -> None:
        """Has the server, on this machine, load the weights behind handles; it drops its radix cache with it."""
        named = [base64.b64encode(payload).decode() for payload in payloads]
        self._update("/update_weights_from_tensor", {"serialized_named_tensors": named})

    def join_weight_group(self, group: WeightGroup) -> None:
        """Has the server join a group."""
        self._client.post("/init_weights_update_group", join_request(group))

    def receive_weights(self, specs: Sequence[TensorSpec], group_name: str) -> None:
        """Has the server load the weights broadcast in a group; it drops its radix cache with it."""
        self._update("/update_weights_from_distributed", receive_request(specs, group_name))

    def sleep(self) -> None:
        """Refuses: see `SGLangAgent`."""
        raise ValueError("A server's memory is not this run's to free: leave out sleep_during_update.")

    def wake_up(self, part: WeightPart) -> None:
        """Does nothing: it never sleeps."""

    def restart(self) -> None:
        """Looks whether the server is there again."""
        self._client.get("/server_info")

    def close(self) -> None:
        """Does nothing: the server is not ours."""

    def _update(self, path: str, payload: dict[str, Any]) -> None:
        self._client.post("/begin_weight_update", {})
        self._client.post(path, payload)
        self._client.post("/end_weight_update", {})

    def _complete(self, prompt: list[int], request: dict[str, Any]) -> list[EngineOutput]:
        return [
            output
            for single in seeded_singles(request)
            for output in outputs(
                self._client.post(
                    "/generate",
                    {
                        "input_ids": prompt,
                        "sampling_params": single,
                        "return_logprob": True,
                        "logprob_start_len": -1,
                    },
                )
            )
        ]
