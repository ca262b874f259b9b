"""SGLang in a process of our own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.engine_agent import EngineOutput
from agents.engine_process import EngineProcess, require
from agents.sglang_agent.cpu import cpu_settings
from agents.sglang_agent.outputs import outputs
from agents.sglang_agent.sampling import seeded_singles


class OwnedEngine:
    """Starts SGLang in a child process and speaks to it.

    Args:
        options: Of `sglang.Engine`; they win over the defaults here.
        timeout_s: Seconds without progress after which the engine counts as hung.
        start_timeout_s: Seconds that its start may take.

    Raises:
        ValueError: If SGLang refuses an option.
        EngineError: If it cannot be started.
        ModuleNotFoundError: If it is not installed.
    """

    def __init__(self, options: Mapping[str, Any], *, timeout_s: float, start_timeout_s: float) -> None:
        require("sglang")
        cpu_options, cpu_environment = cpu_settings()
        self._options = {
            # Token ids go in and out, and every sampling field is explicit.
            "skip_tokenizer_init": True,
            **cpu_options,
            **options,
        }
        if "dtype" in cpu_options and options.get("dtype") == "auto":
            self._options["dtype"] = cpu_options["dtype"]
        self.seeds_requests = bool(options.get("enable_deterministic_inference"))
        self._environment = {
            # The few positions over the checkpoint's context that SGLang keeps for itself are never reached.
            "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN": "1",
            **cpu_environment,
        }
        self._timeouts = {"timeout_s": timeout_s, "start_timeout_s": start_timeout_s}
        self.process = self._start()

    def generate(
        self, prompts: Sequence[Sequence[int]], requests: Sequence[dict[str, Any]]
    ) -> list[list[EngineOutput]]:
        """Completes N prompts; [N][n]."""
        return self.process.call("generate", prompts, requests)

    def load_weights(self, folder: Path) -> str:
        """Loads the weights of a folder and drops the radix cache."""
        self.process.call("load_weights", str(folder))
        return "SGLang's update_weights_from_disk, from a safetensors file in shared memory"

    def restart(self) -> None:
        """Ends the process and starts another, with the checkpoint's weights."""
        self.process.close()
        self.process = self._start()

    def close(self) -> None:
        """Ends the process."""
        self.process.close()

    def _start(self) -> EngineProcess:
        return EngineProcess(
            f"{__name__}:Engine", {"options": self._options}, environment=self._environment, **self._timeouts
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
