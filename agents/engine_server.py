"""An engine's running server behind a URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from agents.base import EngineError
from agents.engine_output import EngineOutput, EngineRequest
from agents.http_client import HttpClient
from agents.weight_loader import WeightPart
from agents.weight_sources import RemoteWeights


class EngineServer:
    """Speaks to a server, with the calls of `OwnedEngine`; a subclass knows its paths and fields.

    Args:
        url: Of the server.
        engine_options: Must be empty: a running server has its options.
        timeout_s: Seconds without an answer after which a request has failed.

    Attributes:
        command: What starts such a server.
        info_path: What it answers when it is there.
        max_model_len: Most tokens of prompt and completion.

    Raises:
        ValueError: For engine options, or a server that cannot be used.
        EngineError: If it cannot be reached.
    """

    command: str
    info_path: str
    max_model_len: int

    def __init__(self, url: str, engine_options: Mapping[str, Any], *, timeout_s: float) -> None:
        if engine_options:
            raise ValueError(
                f"Give {', '.join(engine_options)} to `{self.command}` itself; with url= they have no effect."
            )
        self.client = HttpClient(url, timeout_s=timeout_s)
        self._open: dict[Future[EngineOutput], int] = {}

    def submit(self, requests: Sequence[EngineRequest]) -> None:
        """Begins completions, each a request of its own."""
        for request in requests:
            self._open[self.client.begin(self.complete, request.prompt, request.sampling)] = request.number

    def poll(self, timeout_s: float) -> list[tuple[int, EngineOutput]]:
        """Returns those that have ended, by number, waiting for the first at most `timeout_s`."""
        ended, _ = wait(self._open, timeout_s, FIRST_COMPLETED)
        try:
            return [(self._open.pop(future), future.result()) for future in ended]
        except (EngineError, ValueError):
            self.forget()
            raise

    def forget(self) -> None:
        """Drops what is open: what has not been sent is not, and the rest is not looked at."""
        for future in self._open:
            future.cancel()
        self._open.clear()

    def complete(self, prompt: list[int], sampling: dict[str, Any]) -> EngineOutput:
        """Returns one completion."""
        raise NotImplementedError

    def num_workers(self) -> int:
        """Returns how many processes hold the server's model."""
        raise NotImplementedError

    def load_weights(self, source: RemoteWeights, policy_version: int) -> None:
        """Has the server load weights that fit the model, and drop its caches."""
        raise NotImplementedError

    def sleep(self) -> None:
        """Refuses."""
        raise ValueError("A server's memory is not this run's to free: leave out sleep_during_update.")

    def wake_up(self, part: WeightPart) -> None:
        """Does nothing: it never sleeps."""

    def restart(self) -> None:
        """Looks whether the server is there again; what was open is lost."""
        self.forget()
        self.client.get(self.info_path)

    def close(self) -> None:
        """Does nothing: the server is not ours."""
