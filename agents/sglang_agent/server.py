"""SGLang's HTTP server behind a URL. The fields are those of SGLang 0.5.23 (`sglang.srt.managers.io_struct`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.engine_agent import EngineOutput
from agents.http_client import HttpClient
from agents.sglang_agent.outputs import outputs
from agents.sglang_agent.sampling import seeded_singles


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

    def restart(self) -> None:
        """Looks whether the server is there again."""
        self._client.get("/server_info")

    def close(self) -> None:
        """Does nothing: the server is not ours."""

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
