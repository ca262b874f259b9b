"""What the vLLM and the SGLang agent share: the protocol's duties around a backend that generates and loads weights."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from agents.base import Completion, EngineError, FinishReason, SamplingParams
from agents.stop_text import cut_at_stop, tokens_to_stop
from agents.text import TextAgent, check_prompts
from agents.transformers_agent.loading import parameter_shapes
from agents.weight_loader import WeightPart
from agents.weight_sources import Arrays, RemoteSource, WeightsFile, WeightSource
from agents.weights import TensorSpec, check_specs, weights_folder

logger = logging.getLogger(__name__)


class EngineOutput(NamedTuple):
    """One completion as an engine returns it: ids [T], log-probabilities [T], and how it ended."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason


class Backend(Protocol):
    """An engine, in a process of ours or behind a URL."""

    def generate(
        self, prompts: Sequence[Sequence[int]], requests: Sequence[dict[str, Any]]
    ) -> list[list[EngineOutput]]:
        """Completes N prompts, each with its request in the engine's own words; [N][n]."""
        ...

    def num_workers(self) -> int:
        """Returns how many processes hold the engine's model."""
        ...

    def load_weights(self, source: RemoteSource) -> None:
        """Loads weights that fit the model, and drops the caches."""
        ...

    def sleep(self) -> None:
        """Frees weights and KV cache."""
        ...

    def wake_up(self, part: WeightPart) -> None:
        """Takes memory for one of both again."""
        ...

    def restart(self) -> None:
        """Starts or reaches the engine anew."""
        ...

    def close(self) -> None:
        """Frees the engine."""
        ...


class EngineAgent(TextAgent):
    """Base of the agents whose engine runs elsewhere.

    A `WeightLoader`, and where the engine was started for it a `Sleeper`.

    Args:
        folder: Folder of the model.
        backend: The engine.
        max_model_len: Most tokens of prompt and completion together.
        sampling: What `act` samples with.
        trust_remote_code: Whether the model's folder may run code.
    """

    weight_transfers: tuple[str, ...] = ("ipc", "collective")

    def __init__(
        self,
        folder: Path,
        backend: Backend,
        *,
        max_model_len: int,
        sampling: SamplingParams | None,
        trust_remote_code: bool,
    ) -> None:
        super().__init__(folder, max_model_len=max_model_len, sampling=sampling, trust_remote_code=trust_remote_code)
        self.folder = folder
        self.backend = backend
        self._trust_remote_code = trust_remote_code
        self._asleep: set[WeightPart] = set()

    def requests(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[dict[str, Any]]:
        """Returns one request a prompt, in the engine's own words."""
        raise NotImplementedError

    def generate(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[list[Completion]]:
        """Samples `params.n` completions for each of N prompts: [N][n], in the prompts' order.

        Raises:
            ValueError: For an empty prompt, one that leaves no room for a token in the context, a tuple of seeds that
                are not as many as the prompts, or sampling this engine cannot report the log-probabilities of.
            EngineError: If the engine died, hung or cannot be reached.
        """
        check_prompts(prompt_token_ids, params.seed, self.max_model_len)
        if not prompt_token_ids:
            return []
        prompts = [list(map(int, prompt)) for prompt in prompt_token_ids]
        # Greedy samples are all the same; vLLM refuses to draw more than one.
        copies = params.n if params.temperature == 0 else 1
        groups = self.backend.generate(prompts, self.requests(prompts, replace(params, n=params.n // copies)))
        groups = [group * copies for group in groups]
        flat = [output for group in groups for output in group]
        if len(groups) != len(prompts) or len(flat) != len(prompts) * params.n:
            raise EngineError(f"The engine returned {len(flat)} completions for {len(prompts)} prompts x {params.n}.")
        if params.stop:
            groups = [[self._cut(output, params.stop) for output in group] for group in groups]
        ids = [output.token_ids for group in groups for output in group]
        texts = iter(self.tokenizer.batch_decode(ids, skip_special_tokens=True))
        return [
            [self._completion(output, cut_at_stop(next(texts), params.stop)) for output in group] for group in groups
        ]

    def num_workers(self) -> int:
        """Returns how many processes hold the engine's model."""
        return self.backend.num_workers()

    def check_weights(self, specs: Sequence[TensorSpec]) -> None:
        """Raises ValueError for weights that do not fit the model."""
        check_specs(specs, self._shapes)

    def load_weights(self, source: WeightSource, policy_version: int) -> None:
        """Replaces the weights (Hugging Face names) and drops every cache made with the old ones.

        Names, shapes and types are checked here first: an engine accepts unknown names silently, or dies. Arrays become
        a file, in shared memory where there is room; the other sources travel on to the engine's process unopened.

        Raises:
            ValueError: For an unknown or missing name or a wrong shape; nothing is changed then.
            EngineError: If the engine died, hung or cannot be reached.
        """
        self.check_weights(source.specs)
        with _for_another_process(source) as sent:
            self.backend.load_weights(sent)
        self.policy_version = policy_version
        logger.info("weights of version %d by %s", policy_version, type(sent).__name__)

    def sleep(self) -> None:
        """Frees the engine's weights and KV cache."""
        if not self._asleep:
            self.backend.sleep()
            self._asleep = {"weights", "kv_cache"}

    def wake_up(self, part: WeightPart) -> None:
        """Takes memory again for `part`, if it sleeps."""
        if part in self._asleep:
            self.backend.wake_up(part)
            self._asleep.remove(part)

    def restart(self) -> None:
        """Starts the engine anew (a server is only reached again) and counts policy versions from 0."""
        logger.info("restarting the engine")
        self.backend.restart()
        self.policy_version = 0
        self._asleep = set()

    def close(self) -> None:
        """Frees the engine; a server goes on running."""
        self.backend.close()

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return parameter_shapes(self.folder, trust_remote_code=self._trust_remote_code)

    def _cut(self, output: EngineOutput, stop: Sequence[str]) -> EngineOutput:
        count = tokens_to_stop(self.tokenizer, output.token_ids, stop)
        return output if count is None else EngineOutput(output.token_ids[:count], output.logprobs[:count], "stop")

    def _completion(self, output: EngineOutput, text: str) -> Completion:
        return Completion(
            token_ids=output.token_ids,
            logprobs=output.logprobs,
            text=text,
            finish_reason=output.finish_reason,
            policy_version=self.policy_version,
        )


@contextmanager
def _for_another_process(source: WeightSource) -> Iterator[Any]:
    """Yields the source as a `RemoteSource`."""
    if not isinstance(source, Arrays):
        yield source
        return
    with weights_folder(list(source.tensors())) as folder:
        yield WeightsFile(specs=source.specs, folder=str(folder))


def check_can_sleep(engine: str, url: str | None) -> None:
    """Refuses to start an engine that could not free its memory.

    Raises:
        ValueError: For a server, or a machine without a GPU; on a CPU vLLM and SGLang ignore the calls.
    """
    if url is not None:
        raise ValueError(f"The engine at {url} cannot be sent to sleep: leave out enable_sleep_mode, or url.")
    if not torch.cuda.is_available():
        raise ValueError(
            f"{engine} frees its memory on a GPU only, and torch sees none here: leave out enable_sleep_mode "
            "(sleep_during_update of a training run)."
        )
