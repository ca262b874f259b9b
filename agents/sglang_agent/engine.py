"""SGLang in a process of our own: the child's side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from math import prod
from typing import Any

from agents.engine_output import EngineOutput, EngineRequest
from agents.http_client import MissingEndpointError
from agents.sglang_agent.sampling import output
from agents.sglang_agent.weight_loading import SIZES, WeightLoading
from agents.weight_loader import WeightPart
from agents.weight_sources import RemoteWeights

_STEP_S = 0.05  # a call to the engine waits at most this long for a step of it to end


class Engine:
    """`sglang.Engine` behind the calls of `OwnedEngine`."""

    def __init__(self, options: dict[str, Any]) -> None:
        import sglang

        self._engine = sglang.Engine(**options)
        self._weights = WeightLoading(self._checked)
        self._open: dict[asyncio.Task[EngineOutput], int] = {}

    def submit(self, requests: list[EngineRequest]) -> None:
        """Begins completions."""
        for request in requests:
            self._open[self._engine.loop.create_task(self._complete(request))] = request.number

    def work(self, progress: Callable[[], None]) -> list[tuple[int, EngineOutput]] | None:
        """Waits for the next completions to end, a short while; returns them by number."""
        if not self._open:
            return None
        ended, _ = self._run(asyncio.wait(self._open, timeout=_STEP_S, return_when=asyncio.FIRST_COMPLETED))
        if ended:
            progress()
        return [(self._open.pop(task), task.result()) for task in ended]

    def sizes(self) -> dict[str, int]:
        """Returns over how many processes the engine is spread."""
        return {name: getattr(self._engine.server_args, name) for name in SIZES}

    def num_workers(self) -> int:
        """Returns how many processes hold the model."""
        return prod(self.sizes().values())

    def load_weights(self, source: RemoteWeights, policy_version: int) -> None:
        """Loads weights that fit the model; SGLang drops its radix cache with it."""
        self._weights.load(source)

    def sleep(self) -> None:
        """Frees weights and KV cache."""
        self._engine.release_memory_occupation(tags=["kv_cache", "weights"])

    def wake_up(self, part: WeightPart) -> None:
        """Takes memory for one of both again."""
        self._engine.resume_memory_occupation(tags=[part])

    async def _complete(self, request: EngineRequest) -> EngineOutput:
        result = await self._engine.async_generate(
            input_ids=request.prompt, sampling_params=request.sampling, return_logprob=True, logprob_start_len=-1
        )
        return output(result)

    def _checked(self, name: str, arguments: dict[str, Any]) -> None:
        from sglang.srt.managers.io_struct import UpdateWeightsFromTensorReqInput

        if name == "update_weights_from_tensor":
            # The method of this name would open the handles here, and this process must not.
            request = UpdateWeightsFromTensorReqInput(**arguments)
            success, message, *_ = self._run(self._engine.tokenizer_manager.update_weights_from_tensor(request, None))
        elif not hasattr(self._engine, name):
            raise MissingEndpointError(f"This SGLang has no {name}.")
        else:
            success, message, *_ = getattr(self._engine, name)(**arguments)
        if not success:
            raise RuntimeError(f"SGLang did not take the weights: {message}")

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._engine.loop.run_until_complete(coroutine)
