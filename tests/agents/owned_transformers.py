"""An engine in a process of its own that needs no engine's package: transformers behind the calls of an owned engine.

What vLLM's and SGLang's agents share runs unchanged: the process, the handles, the group, restart.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from agents.base import SamplingParams
from agents.engine_agent import EngineAgent
from agents.engine_output import EngineOutput, EngineRequest
from agents.owned_engine import OwnedEngine
from agents.seeds import prompt_seeds
from agents.transformers_agent import TransformersAgent
from agents.weight_sources import Broadcast, RemoteSource

Progress = Callable[[], None]


class Engine:
    """The child's side.

    Args:
        model: Folder of the model.
        die_at: A file; the process ends in the middle of taking weights if it exists, and removes it first.
        num_workers: How many processes it says it is.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._die_at = Path(options["die_at"])
        self._num_workers = options["num_workers"]
        self._open: list[EngineRequest] = []
        self._agent = TransformersAgent(options["model"], device="cpu", dtype="float32")

    def submit(self, requests: list[EngineRequest]) -> None:
        self._open += requests

    def work(self, progress: Progress) -> list[tuple[int, EngineOutput]] | None:
        if not self._open:
            return None
        number, prompt, sampling = self._open.pop(0)
        [[c]] = self._agent.generate([prompt], SamplingParams(**sampling))
        progress()
        return [(number, EngineOutput(c.token_ids, c.logprobs, c.finish_reason))]

    def num_workers(self) -> int:
        return self._num_workers

    def load_weights(self, source: RemoteSource, policy_version: int) -> None:
        tensors = source.tensors()
        first = next(tensors)
        self._die_once()
        self._agent.update_weights(chain([first], tensors), 0)

    def sleep(self) -> None:
        pass

    def wake_up(self, part: str) -> None:
        pass

    def _die_once(self) -> None:
        if self._die_at.exists():
            self._die_at.unlink()
            os._exit(1)


class OwnedTransformersAgent(EngineAgent):
    """The agent; records its calls to the engine in `calls`, and the groups it was sent broadcasts in in `groups`."""

    def __init__(
        self,
        model: str = "tiny",
        *,
        die_at: str = "/nonexistent",
        num_workers: int = 1,
        timeout_s: float = 60.0,
        enable_sleep_mode: bool = False,
    ) -> None:
        super().__init__(model, timeout_s=timeout_s, die_at=die_at, num_workers=num_workers)
        self.calls: list[str] = []
        self.groups: list[str] = []
        process = self.backend.process  # type: ignore[union-attr]
        call = process.call

        def recorded(method: str, *arguments: Any) -> Any:
            detail = {"wake_up": str, "load_weights": lambda source: type(source).__name__}.get(method)
            self.calls.append(f"{method} {detail(arguments[0])}" if detail else method)
            self.groups += [source.group.name for source in arguments if isinstance(source, Broadcast)]
            return call(method, *arguments)

        process.call = recorded  # type: ignore[method-assign]

    def start(self, options: dict[str, Any], **timeouts: float) -> OwnedEngine:
        return OwnedEngine(
            "transformers", f"{__name__}:Engine", options=options, defaults={}, environment={}, **timeouts
        )

    def requests(self, prompts: Sequence[Sequence[int]], params: SamplingParams) -> list[dict[str, Any]]:
        seeds = prompt_seeds(params.seed, len(prompts))
        return [asdict(params) | {"seed": None if seed is None else (seed,)} for seed in seeds]
