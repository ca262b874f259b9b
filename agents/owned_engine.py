"""An engine in a process of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents.engine_output import EngineOutput, EngineRequest
from agents.engine_process import EngineProcess, require
from agents.weight_loader import WeightPart
from agents.weight_sources import RemoteSource


class OwnedEngine:
    """Starts an engine in a child process and speaks to it.

    Args:
        package: The engine's package, which must be installed.
        engine: "module:Class" of the child's side, made with `options` as a dictionary.
        options: Of the engine; they win over `defaults`. A dtype "auto" is that of `defaults`, where they have one.
        defaults: Options that this project or this machine needs.
        environment: The child's environment variables.
        timeout_s: Seconds without progress after which the engine counts as hung.
        start_timeout_s: Seconds that its start may take.

    Raises:
        ValueError: If the engine refuses an option.
        EngineError: If it cannot be started.
        ModuleNotFoundError: If it is not installed.
    """

    def __init__(
        self,
        package: str,
        engine: str,
        *,
        options: Mapping[str, Any],
        defaults: Mapping[str, Any],
        environment: Mapping[str, str],
        timeout_s: float,
        start_timeout_s: float,
    ) -> None:
        require(package)
        self._engine = engine
        self._options = {**defaults, **options}
        if "dtype" in defaults and options.get("dtype") == "auto":
            self._options["dtype"] = defaults["dtype"]
        self._environment = environment
        self._timeouts = {"timeout_s": timeout_s, "start_timeout_s": start_timeout_s}
        self.process = self._start()

    def submit(self, requests: Sequence[EngineRequest]) -> None:
        """Begins completions."""
        self.process.call("submit", requests)

    def poll(self, timeout_s: float) -> list[tuple[int, EngineOutput]]:
        """Returns those that have ended, by number, waiting for the first at most `timeout_s`; some must be open."""
        return self.process.poll(timeout_s)

    def num_workers(self) -> int:
        """Returns how many processes hold the engine's model."""
        return self.process.call("num_workers")

    def load_weights(self, source: RemoteSource, policy_version: int) -> None:
        """Loads weights that fit the model, and drops the caches."""
        self.process.call("load_weights", source, policy_version)

    def sleep(self) -> None:
        """Frees weights and KV cache."""
        self.process.call("sleep")

    def wake_up(self, part: WeightPart) -> None:
        """Takes memory for one of both again."""
        self.process.call("wake_up", part)

    def restart(self) -> None:
        """Ends the process and starts another, with the checkpoint's weights."""
        self.close()
        self.process = self._start()

    def close(self) -> None:
        """Ends the process."""
        self.process.close()

    def _start(self) -> EngineProcess:
        return EngineProcess(self._engine, {"options": self._options}, environment=self._environment, **self._timeouts)
