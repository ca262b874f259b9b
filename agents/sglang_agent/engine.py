"""SGLang in a process of our own: the child's side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from math import prod
from typing import Any

from agents.engine_output import EngineOutput
from agents.http_client import MissingEndpointError
from agents.sglang_agent.sampling import outputs, seeded_singles
from agents.sglang_agent.weight_loading import SIZES, WeightLoading
from agents.weight_loader import WeightPart
from agents.weight_sources import RemoteSource


class Engine:
    """`sglang.Engine` behind the calls of `OwnedEngine`."""

    def __init__(self, options: dict[str, Any]) -> None:
        import sglang

        self._engine = sglang.Engine(**options)
        self._weights = WeightLoading(self._checked)

    def generate(
        self, prompts: list[list[int]], requests: list[dict[str, Any]], progress: Callable[[], None]
    ) -> list[list[EngineOutput]]:
        """Completes N prompts, with progress as each is finished; [N][n]."""

        async def complete(prompt: list[int], request: dict[str, Any]) -> list[EngineOutput]:
            results = await asyncio.gather(
                *(
                    self._engine.async_generate(
                        input_ids=prompt, sampling_params=single, return_logprob=True, logprob_start_len=-1
                    )
                    for single in seeded_singles(request)
                )
            )
            progress()
            return [output for result in results for output in outputs(result)]

        async def complete_all() -> list[list[EngineOutput]]:
            return await asyncio.gather(*map(complete, prompts, requests))

        return self._run(complete_all())

    def sizes(self, progress: Callable[[], None]) -> dict[str, int]:
        """Returns over how many processes the engine is spread."""
        return {name: getattr(self._engine.server_args, name) for name in SIZES}

    def num_workers(self, progress: Callable[[], None]) -> int:
        """Returns how many processes hold the model."""
        return prod(self.sizes(progress).values())

    def load_weights(self, source: RemoteSource, progress: Callable[[], None]) -> None:
        """Loads weights that fit the model; SGLang drops its radix cache with it."""
        self._weights.load(source)

    def sleep(self, progress: Callable[[], None]) -> None:
        """Frees weights and KV cache."""
        self._engine.release_memory_occupation(tags=["kv_cache", "weights"])

    def wake_up(self, part: WeightPart, progress: Callable[[], None]) -> None:
        """Takes memory for one of both again."""
        self._engine.resume_memory_occupation(tags=[part])

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
