"""SGLang's HTTP server behind a URL. The fields are those of SGLang 0.5.23 (`sglang.srt.managers.io_struct`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from agents.engine_agent import EngineOutput
from agents.http_client import HttpClient
from agents.sglang_agent.outputs import outputs
from agents.sglang_agent.sampling import seeded_singles
from agents.sglang_agent.weight_loading import SIZES, WeightLoading
from agents.weight_loader import WeightPart
from agents.weight_sources import RemoteSource


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
        self.sizes: dict[str, int] = {name: info[name] for name in SIZES}
        # A prompt must be shorter than this, and a few more positions are left for the completion.
        self.max_model_len: int = info["max_req_input_len"]
        self.seeds_requests: bool = info["enable_deterministic_inference"]
        self._weights = WeightLoading(self._post)

    def generate(
        self, prompts: Sequence[Sequence[int]], requests: Sequence[dict[str, Any]]
    ) -> list[list[EngineOutput]]:
        """Completes N prompts, each in a request of its own; [N][n]."""
        return self._client.each(self._complete, prompts, requests)

    def num_workers(self) -> int:
        """Returns how many processes hold the server's model."""
        return prod(self.sizes.values())

    def load_weights(self, source: RemoteSource) -> None:
        """Has the server load weights that fit the model; it drops its radix cache with it."""
        self._weights.load(source)

    def sleep(self) -> None:
        """Refuses: see `SGLangAgent`."""
        raise ValueError("A server's memory is not this run's to free: leave out sleep_during_update.")

    def wake_up(self, part: WeightPart) -> None:
        """Does nothing: it never sleeps."""

    def restart(self) -> None:
        """Looks whether the server is there again."""
        self._client.get("/server_info")
        self._weights = WeightLoading(self._post)

    def close(self) -> None:
        """Does nothing: the server is not ours."""

    def _post(self, name: str, arguments: dict[str, Any]) -> None:
        # A refusal (the folder is not there, say) is an error status, so a ValueError with SGLang's message.
        self._client.post(f"/{name}", arguments)

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
