"""vLLM in a process of our own."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from agents.engine_agent import EngineOutput
from agents.owned_engine import OwnedEngineBase
from agents.vllm_agent.cpu import cpu_settings
from agents.vllm_agent.outputs import engine_output
from agents.weight_loader import WeightPart
from agents.weight_sources import RemoteSource, to_json

WORKER_EXTENSION = "agents.vllm_agent.worker.WeightsExtension"


class OwnedEngine(OwnedEngineBase):
    """vLLM in a child process.

    Args:
        options: Of `vllm.LLM`; they win over the defaults here.
        timeout_s: Seconds without progress after which the engine counts as hung.
        start_timeout_s: Seconds that its start may take.

    Raises:
        As `OwnedEngineBase`.
    """

    def __init__(self, options: Mapping[str, Any], *, timeout_s: float, start_timeout_s: float) -> None:
        cpu_options, cpu_environment = cpu_settings(options)
        super().__init__(
            "vllm",
            f"{__name__}:Engine",
            options=options,
            defaults={
                # The distribution sampled from, not the model's own.
                "logprobs_mode": "processed_logprobs",
                # Every sampling field is explicit; nothing is read from the checkpoint.
                "generation_config": "vllm",
                "enable_prefix_caching": True,
                "worker_extension_cls": WORKER_EXTENSION,
                "disable_log_stats": True,
            },
            cpu_options=cpu_options,
            environment={
                # One process less: the child is ours already, and weights reach the model without being serialised.
                "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
                "VLLM_NO_USAGE_STATS": "1",
                "VLLM_LOGGING_LEVEL": "WARNING",
                **cpu_environment,
            },
            timeout_s=timeout_s,
            start_timeout_s=start_timeout_s,
        )

    def fresh_options(self) -> dict[str, Any]:
        """Returns a seed: vLLM's default is 0 everywhere, and replicas would draw the same samples."""
        return {"seed": secrets.randbits(31)}


class Engine:
    """The child's side: `vllm.LLM` behind the calls of `OwnedEngineBase`."""

    def __init__(self, options: dict[str, Any]) -> None:
        import vllm

        self._vllm = vllm
        self._llm = vllm.LLM(**options)

    def generate(
        self, prompts: list[list[int]], requests: list[dict[str, Any]], progress: Callable[[], None]
    ) -> list[list[EngineOutput]]:
        """Completes N prompts, with progress at every engine step; [N][n]."""
        final = self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY
        self._llm.enqueue(
            [{"prompt_token_ids": prompt} for prompt in prompts],
            [
                # Only a stop text needs the text; it costs a detokenizer in the engine's own process.
                self._vllm.SamplingParams(**request, detokenize=bool(request["stop"]), output_kind=final)
                for request in requests
            ],
            use_tqdm=False,
        )
        finished = []
        engine = self._llm.llm_engine
        while engine.has_unfinished_requests():
            for output in engine.step():
                if output.finished:
                    finished.append(output)
            progress()
        # Requests end in any order; vLLM numbers them as they come.
        finished.sort(key=lambda output: int(output.request_id))
        return [[engine_output(completion) for completion in output.outputs] for output in finished]

    def num_workers(self, progress: Callable[[], None]) -> int:
        """Returns how many workers hold the model: each answers."""
        return len(self._llm.collective_rpc("check_health"))

    def load_weights(self, source: RemoteSource, progress: Callable[[], None]) -> None:
        """Has every worker load the weights, and drops the prefix cache."""
        self._llm.collective_rpc("load_weights", args=(to_json(source),))
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM could not drop its prefix cache, so it holds keys of the old weights.")

    def sleep(self, progress: Callable[[], None]) -> None:
        """Frees weights and KV cache; level 2 keeps no copy, since new weights come before the next completion."""
        self._llm.sleep(level=2)

    def wake_up(self, part: WeightPart, progress: Callable[[], None]) -> None:
        """Takes memory for one of both again."""
        self._llm.wake_up(tags=[part])
