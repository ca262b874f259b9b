"""vLLM in a process of our own."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.engine_agent import EngineOutput
from agents.engine_process import EngineProcess, require
from agents.vllm_agent.cpu import cpu_settings
from agents.vllm_agent.outputs import engine_output

WORKER_EXTENSION = "agents.vllm_agent.worker.WeightsExtension"


class OwnedEngine:
    """Starts vLLM in a child process and speaks to it.

    Args:
        options: Of `vllm.LLM`; they win over the defaults here.
        timeout_s: Seconds without progress after which the engine counts as hung.
        start_timeout_s: Seconds that its start may take.

    Raises:
        ValueError: If vLLM refuses an option.
        EngineError: If it cannot be started.
        ModuleNotFoundError: If it is not installed.
    """

    def __init__(self, options: Mapping[str, Any], *, timeout_s: float, start_timeout_s: float) -> None:
        require("vllm")
        cpu_options, cpu_environment = cpu_settings(options)
        self._options = {
            # The distribution sampled from, not the model's own.
            "logprobs_mode": "processed_logprobs",
            # Every sampling field is explicit; nothing is read from the checkpoint.
            "generation_config": "vllm",
            "enable_prefix_caching": True,
            "worker_extension_cls": WORKER_EXTENSION,
            "disable_log_stats": True,
            **cpu_options,
            **options,
        }
        if "dtype" in cpu_options and options.get("dtype") == "auto":
            self._options["dtype"] = cpu_options["dtype"]
        self._environment = {
            # One process less: the child is ours already, and weights reach the model without being serialised.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_LOGGING_LEVEL": "WARNING",
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
        """Loads the weights of a folder and drops the prefix cache."""
        self.process.call("load_weights", str(folder))
        return "vLLM's reload_weights, from a safetensors file in shared memory"

    def restart(self) -> None:
        """Ends the process and starts another, with the checkpoint's weights."""
        self.process.close()
        self.process = self._start()

    def close(self) -> None:
        """Ends the process."""
        self.process.close()

    def _start(self) -> EngineProcess:
        # vLLM's default seed is 0 everywhere: replicas would draw the same samples.
        options = {"seed": secrets.randbits(31), **self._options}
        return EngineProcess(
            f"{__name__}:Engine", {"options": options}, environment=self._environment, **self._timeouts
        )


class Engine:
    """The child's side: `vllm.LLM` behind two methods."""

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
            [self._vllm.SamplingParams(**request, detokenize=False, output_kind=final) for request in requests],
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

    def load_weights(self, folder: str, progress: Callable[[], None]) -> None:
        """Loads the safetensors of a folder and drops the prefix cache."""
        self._llm.collective_rpc("load_policy_weights", args=(folder,))
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM could not drop its prefix cache, so it holds keys of the old weights.")
