"""SGLang in a process of our own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from agents.engine_agent import EngineOutput
from agents.owned_engine import OwnedEngineBase
from agents.sglang_agent.cpu import cpu_settings
from agents.sglang_agent.outputs import outputs
from agents.sglang_agent.sampling import seeded_singles
from agents.sglang_agent.weight_requests import join_request, num_workers, receive_request
from agents.weight_transfer import TensorSpec, WeightGroup, WeightPart


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
    """The child's side: `sglang.Engine` behind the calls of `OwnedEngineBase`."""

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

        return self._run(complete_all())

    def load_weights(self, folder: str, progress: Callable[[], None]) -> None:
        """Loads the safetensors of a folder; SGLang drops its radix cache with it."""
        _check(self._engine.update_weights_from_disk(folder))

    def num_workers(self, progress: Callable[[], None]) -> int:
        """Returns how many workers hold the model."""
        args = self._engine.server_args
        return num_workers(tp_size=args.tp_size, pp_size=args.pp_size, dp_size=args.dp_size)

    def load_handles(self, payloads: list[bytes], progress: Callable[[], None]) -> None:
        """Loads the weights behind handles; SGLang drops its radix cache with it."""
        from sglang.srt.managers.io_struct import UpdateWeightsFromTensorReqInput

        # `Engine.update_weights_from_tensor` would open the handles here, and this process must not.
        request = UpdateWeightsFromTensorReqInput(serialized_named_tensors=payloads)
        with self._weight_update():
            _check(self._run(self._engine.tokenizer_manager.update_weights_from_tensor(request, None)))

    def join_weight_group(self, group: WeightGroup, progress: Callable[[], None]) -> None:
        """Has every worker join a group."""
        _check(self._engine.init_weights_update_group(**join_request(group)))

    def receive_weights(self, specs: list[TensorSpec], group_name: str, progress: Callable[[], None]) -> None:
        """Loads the weights broadcast in a group; SGLang drops its radix cache with it."""
        with self._weight_update():
            _check(self._engine.update_weights_from_distributed(**receive_request(specs, group_name)))

    def sleep(self, progress: Callable[[], None]) -> None:
        """Frees weights and KV cache."""
        self._engine.release_memory_occupation(tags=["kv_cache", "weights"])

    def wake_up(self, part: WeightPart, progress: Callable[[], None]) -> None:
        """Takes memory for one of both again."""
        self._engine.resume_memory_occupation(tags=[part])

    @contextmanager
    def _weight_update(self) -> Iterator[None]:
        _check(self._engine.begin_weight_update())
        yield
        _check(self._engine.end_weight_update())

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._engine.loop.run_until_complete(coroutine)


def _check(answer: tuple[Any, ...]) -> None:
    success, message, *_ = answer
    if not success:
        raise RuntimeError(f"SGLang did not take the weights: {message}")
