"""vLLM in a process of our own: the child's side."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from agents.engine_output import EngineOutput, EngineRequest, engine_output
from agents.weight_loader import WeightPart
from agents.weight_sources import AdapterFolder, RemoteSource, to_json

WORKER_EXTENSION = "agents.vllm_agent.worker.WeightsExtension"


class Engine:
    """`vllm.LLM` behind the calls of `OwnedEngine`."""

    def __init__(self, options: dict[str, Any]) -> None:
        import vllm

        self._vllm = vllm
        # vLLM's default seed is 0 everywhere, and replicas would draw the same samples.
        self._llm = vllm.LLM(**{"seed": secrets.randbits(31), **options})
        self._numbers: dict[str, int] = {}
        self._adapter: Any = None
        self._llm.llm_engine.set_weight_version("0")

    def submit(self, requests: list[EngineRequest]) -> None:
        """Begins completions."""
        final = self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY
        names = self._llm.enqueue(
            [{"prompt_token_ids": request.prompt} for request in requests],
            [
                # Only a stop text needs the text; it costs a detokenizer in the engine's own process.
                self._vllm.SamplingParams(**sampling, detokenize=bool(sampling["stop"]), output_kind=final)
                for _, _, sampling in requests
            ],
            lora_request=self._adapter,
            use_tqdm=False,
        )
        for name, request in zip(names, requests, strict=True):
            # An output has the first part alone; the rest makes the name unique.
            self._numbers[name.split("-")[0]] = request.number

    def work(self, progress: Callable[[], None]) -> list[tuple[int, EngineOutput]] | None:
        """Does one engine step; returns the completions that it ended, by number."""
        engine = self._llm.llm_engine
        if not engine.has_unfinished_requests():
            return None
        progress()
        ended = [output for output in engine.step() if output.finished]
        return [(self._numbers.pop(one.request_id), _output(one.outputs[0])) for one in ended]

    def num_workers(self) -> int:
        """Returns how many workers hold the model: each answers."""
        return len(self._llm.collective_rpc("check_health"))

    def load_weights(self, source: RemoteSource, policy_version: int) -> None:
        """Has every worker load the weights, or the adapter beside them, and drops the prefix cache.

        What is open goes on under the new weights, which compute its keys anew.
        """
        if isinstance(source, AdapterFolder):
            self._load_adapter(source.folder)
        else:
            self._llm.collective_rpc("load_weights", args=(to_json(source),))
        self._llm.llm_engine.set_weight_version(str(policy_version))
        if not self._llm.reset_prefix_cache(reset_running_requests=True):
            raise RuntimeError("vLLM could not drop its prefix cache, so it holds keys of the old weights.")

    def _load_adapter(self, folder: str) -> None:
        """Puts an adapter in the place of the one before; vLLM knows one by its number and would keep an old one's."""
        from vllm.lora.request import LoRARequest

        engine, number = self._llm.llm_engine, 1
        if self._adapter is not None:
            number = self._adapter.lora_int_id + 1
            engine.remove_lora(self._adapter.lora_int_id)
        self._adapter = LoRARequest(f"policy-{number}", number, folder)
        if not engine.add_lora(self._adapter):
            raise RuntimeError(f"vLLM did not load the adapter in {folder}.")

    def sleep(self) -> None:
        """Frees weights and KV cache; level 2 keeps no copy, since new weights come before the next completion."""
        self._llm.sleep(level=2)

    def wake_up(self, part: WeightPart) -> None:
        """Takes memory for one of both again."""
        self._llm.wake_up(tags=[part])


def _output(completion: Any) -> EngineOutput:
    ids = completion.token_ids
    logprobs = (step[token].logprob for step, token in zip(completion.logprobs, ids, strict=True))
    versions = (span.version for span in completion.weight_versions for _ in range(span.start, span.end))
    return engine_output(ids, logprobs, completion.finish_reason, map(int, versions))
