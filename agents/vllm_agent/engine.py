"""vLLM in a process of our own: the child's side."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from agents.engine_output import EngineOutput, engine_output
from agents.weight_loader import WeightPart
from agents.weight_sources import RemoteSource, to_json

WORKER_EXTENSION = "agents.vllm_agent.worker.WeightsExtension"


class Engine:
    """`vllm.LLM` behind the calls of `OwnedEngine`."""

    def __init__(self, options: dict[str, Any]) -> None:
        import vllm

        self._vllm = vllm
        # vLLM's default seed is 0 everywhere, and replicas would draw the same samples.
        self._llm = vllm.LLM(**{"seed": secrets.randbits(31), **options})

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
        return [[_output(completion) for completion in output.outputs] for output in finished]

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


def _output(completion: Any) -> EngineOutput:
    ids = completion.token_ids
    logprobs = (step[token].logprob for step, token in zip(completion.logprobs, ids, strict=True))
    return engine_output(ids, logprobs, completion.finish_reason)
