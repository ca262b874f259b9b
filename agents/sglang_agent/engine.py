"""SGLang in a process of our own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from agents.engine_agent import EngineOutput
from agents.owned_engine import OwnedEngineBase
from agents.sglang_agent.cpu import cpu_settings
from agents.sglang_agent.outputs import outputs
from agents.sglang_agent.sampling import seeded_singles


class OwnedEngine(OwnedEngineBase):
    """SGLang in a child process.

    Args:
        options: Of `sglang.Engine`; they win over the defaults here.
        timeout_s: Seconds without progress after which the engine counts as hung.
        start_timeout_s: Seconds that its start may take.

    Raises:
        As `OwnedEngineBase`.
    """

    def __init__(self, options: Mapping[str, Any], *, timeout_s: float, start_timeout_s: float) -> None:
        cpu_options, cpu_environment = cpu_settings()
        self.seeds_requests = bool(options.get("enable_deterministic_inference"))
        super().__init__(
            "sglang",
            f"{__name__}:Engine",
            options=options,
            # Token ids go in and out, and every sampling field is explicit.
            defaults={"skip_tokenizer_init": True},
            cpu_options=cpu_options,
            environment={
                # The few positions over the checkpoint's context that SGLang keeps for itself are never reached.
                "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN": "1",
                **cpu_environment,
            },
            weights_path="SGLang's update_weights_from_disk",
            timeout_s=timeout_s,
            start_timeout_s=start_timeout_s,
        )


class Engine:
    """The child's side: `sglang.Engine` behind two methods."""

    def __init__(self, options: dict[str, Any]) -> None:
        import sglang

        self._engine = sglang.Engine(**options)

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

        return self._engine.loop.run_until_complete(complete_all())

    def load_weights(self, folder: str, progress: Callable[[], None]) -> None:
        """Loads the safetensors of a folder; SGLang drops its radix cache with it."""
        success, message, *_ = self._engine.update_weights_from_disk(folder)
        if not success:
            raise RuntimeError(f"SGLang did not take the weights: {message}")
