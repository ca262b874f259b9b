"""What the vLLM and the SGLang agent share: the protocol's duties around a backend that generates and loads weights."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import torch

from agents.base import Completion, EngineError, SamplingParams
from agents.engine_output import EngineOutput, EngineRequest
from agents.engine_server import EngineServer
from agents.http_client import Url
from agents.models import resolve_model
from agents.owned_engine import OwnedEngine
from agents.singles import singles
from agents.stop_text import tokens_to_stop
from agents.text import TextAgent, check_prompts
from agents.transformers_agent.loading import DtypeName, context_length, parameter_shapes
from agents.values import AtLeast1, Seconds
from agents.weight_loader import WeightPart
from agents.weight_sources import Adapter, AdapterFolder, RemoteSource, WeightsFile, WeightSource
from agents.weights import ADAPTER_FILE, TensorSpec, check_specs, weights_folder

logger = logging.getLogger(__name__)

_WAIT_S = 1.0


class _Open(NamedTuple):
    """How many completions of consecutive numbers one request stands for, and what texts end it."""

    copies: int
    stop: tuple[str, ...]


class EngineAgent(TextAgent):
    """Base of the agents whose engine runs in a process of its own or behind a URL; a subclass knows the engine.

    A `StreamingAgent`, a `WeightLoader`, and where the engine was started for it a `Sleeper`.

    Args:
        model: A name `agents.models.resolve_model` knows; with a URL, the model that the server serves.
        url: Of a running server, such as "http://127.0.0.1:8000"; None starts an engine. `update_weights` writes to a
            folder that the server must see (TMPDIR chooses it).
        dtype: "auto" (float32 without a GPU, else the engine's choice), "float32", "bfloat16" or "float16".
        max_model_len: Most tokens of prompt and completion; None takes the checkpoint's or the server's.
        timeout_s: Seconds without any progress after which the engine counts as hung; of a server, seconds for the
            completions of one prompt.
        start_timeout_s: Seconds that the start of an engine may take.
        trust_remote_code: Whether the model's folder may run code.
        sampling: What `act` samples with.
        enable_sleep_mode: Whether the engine can free its memory. Needs an owned engine on a GPU.
        adapter_rank: Rank up to which the engine serves a LoRA adapter beside the model's own weights, so that it can
            be given the adapter alone (`Adapter`); None has it serve none. Needs an owned engine that can.
        **engine_options: Passed to the engine untouched, before any default chosen here.

    Attributes:
        engine: The engine's name.
        loads_in_flight: Whether completions that are open when weights come go on under these; no server says which of
            their tokens are whose.
        sleep_option: Its own option for `enable_sleep_mode`.

    Raises:
        ValueError: For an option that the engine refuses, or a server that cannot be used; the message says why.
        EngineError: If the engine cannot be started or reached.
    """

    in_process = False
    weight_transfers: tuple[str, ...] = ("ipc", "collective")
    engine: str
    loads_in_flight = False
    sleep_option: str

    def __init__(
        self,
        model: str = "tiny",
        *,
        url: Url | None = None,
        dtype: DtypeName = "auto",
        max_model_len: AtLeast1 | None = None,
        timeout_s: Seconds = 120.0,
        start_timeout_s: Seconds = 900.0,
        trust_remote_code: bool = False,
        sampling: SamplingParams | None = None,
        enable_sleep_mode: bool = False,
        adapter_rank: AtLeast1 | None = None,
        **engine_options: Any,
    ) -> None:
        if enable_sleep_mode:
            _check_can_sleep(self.engine, url)
            engine_options[self.sleep_option] = True
        if adapter_rank is not None:
            engine_options = {**self._adapter_options(adapter_rank, url), **engine_options}
            self.weight_transfers = ("adapter", *self.weight_transfers)
        self.folder = resolve_model(model)
        self.backend: OwnedEngine | EngineServer
        if url is None:
            max_model_len = max_model_len or context_length(self.folder, trust_remote_code=trust_remote_code)
            options = {"model": str(self.folder), "dtype": dtype, "max_model_len": max_model_len}
            options |= {"trust_remote_code": trust_remote_code, **engine_options}
            self.backend = self.start(options, timeout_s=timeout_s, start_timeout_s=start_timeout_s)
        else:
            self.backend = server = self.connect(url, engine_options, timeout_s=timeout_s)
            self.loads_in_flight = False
            max_model_len = min(max_model_len or server.max_model_len, server.max_model_len)
        super().__init__(
            self.folder, max_model_len=max_model_len, sampling=sampling, trust_remote_code=trust_remote_code
        )
        self._trust_remote_code = trust_remote_code
        self._asleep: set[WeightPart] = set()
        self._numbers = itertools.count()
        self._open: dict[int, _Open] = {}
        self._ended: dict[int, Completion] = {}

    def start(self, options: dict[str, Any], **timeouts: float) -> OwnedEngine:
        """Returns a new engine, with options in vLLM's words."""
        raise NotImplementedError

    def serving_adapter(self, rank: int) -> dict[str, Any] | None:
        """Returns the engine options with which it serves an adapter of a rank; None if it cannot."""
        return None

    def connect(self, url: str, engine_options: dict[str, Any], *, timeout_s: float) -> EngineServer:
        """Returns the server at a URL."""
        raise NotImplementedError

    def requests(self, prompts: Sequence[Sequence[int]], params: SamplingParams) -> list[dict[str, Any]]:
        """Returns a request for one completion of each prompt, in the engine's own words; `params.n` is 1."""
        raise NotImplementedError

    def generate(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[list[Completion]]:
        """Samples `params.n` completions for each of N prompts: [N][n], in the prompts' order.

        Raises:
            ValueError: For an empty prompt, one that leaves no room for a token in the context, a tuple of seeds that
                are not as many as the prompts, or sampling this engine cannot report the log-probabilities of.
            EngineError: If the engine died, hung or cannot be reached.
        """
        numbers = self.submit(prompt_token_ids, params)
        wanted = {number for group in numbers for number in group}
        while not wanted <= self._ended.keys():
            self._collect(_WAIT_S)
        return [[self._ended.pop(number) for number in group] for group in numbers]

    def submit(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[list[int]]:
        """Begins `params.n` completions for each of N prompts; returns their numbers: [N][n].

        Greedy completions of a prompt are all the same: the engine makes one of them.
        """
        check_prompts(prompt_token_ids, params.seed, self.max_model_len)
        copies = params.n if params.temperature == 0 else 1
        prompts, single = singles(prompt_token_ids, replace(params, n=params.n // copies))
        requests = self.requests(prompts, single)
        numbers = [list(islice(self._numbers, params.n)) for _ in prompt_token_ids]
        firsts = [number for group in numbers for number in group[::copies]]
        if firsts:
            rows = zip(firsts, prompts, requests, strict=True)
            self.backend.submit([EngineRequest(first, list(map(int, ids)), how) for first, ids, how in rows])
        self._open |= {first: _Open(copies, params.stop) for first in firsts}
        return numbers

    def poll(self, timeout_s: float = 0.0) -> dict[int, Completion]:
        """Returns the completions that have ended since the last call, by number."""
        if self._open and not self._ended:
            self._collect(timeout_s)
        ended, self._ended = self._ended, {}
        return ended

    def _collect(self, timeout_s: float) -> None:
        """Keeps what has ended, waiting for the first at most `timeout_s`."""
        try:
            ended = self.backend.poll(timeout_s)
        except (EngineError, ValueError):
            self._open.clear()
            raise
        for number, output in ended:
            copies, stop = self._open.pop(number)
            [completion] = self.completions([self._cut(output, stop)], stop)
            self._ended |= dict.fromkeys(range(number, number + copies), completion)

    def num_workers(self) -> int:
        """Returns how many processes hold the engine's model."""
        return self.backend.num_workers()

    def check_weights(self, specs: Sequence[TensorSpec]) -> None:
        """Raises ValueError for weights that do not fit the model."""
        check_specs(specs, self._shapes)

    def load_weights(self, source: WeightSource, policy_version: int) -> None:
        """Replaces the weights (Hugging Face names), or an adapter; drops every cache made with the old ones.

        Names, shapes and types of weights are checked here first: an engine accepts unknown names silently, or dies.
        Files, handles and broadcasts travel on to the engine's process unopened; arrays, Ray's among them, become a
        file, in shared memory where there is room.

        Raises:
            ValueError: For an unknown or missing name or a wrong shape; nothing is changed then.
            EngineError: If the engine died, hung or cannot be reached.
        """
        if not isinstance(source, Adapter):
            self.check_weights(source.specs)
        with _for_another_process(source) as sent:
            self.backend.load_weights(sent, policy_version)
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
        self._open, self._ended = {}, {}
        self.backend.restart()
        self.policy_version = 0
        self._asleep = set()

    def close(self) -> None:
        """Frees the engine; a server goes on running."""
        self.backend.close()

    def _adapter_options(self, rank: int, url: str | None) -> dict[str, Any]:
        options = self.serving_adapter(rank)
        if options is None or url is not None:
            place = f"The agent {self.engine!r}" if url is None else f"The engine at {url}"
            raise ValueError(f"{place} takes no adapter alone: leave out adapter_rank (weight_transfer='adapter').")
        return options

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return parameter_shapes(self.folder, trust_remote_code=self._trust_remote_code)

    def _cut(self, output: EngineOutput, stop: Sequence[str]) -> EngineOutput:
        count = tokens_to_stop(self.tokenizer, output.token_ids, stop)
        return output if count is None else output.cut(count)


@contextmanager
def _for_another_process(source: WeightSource) -> Iterator[Any]:
    """Yields a source that can travel on: whatever else holds tensors becomes a file."""
    if isinstance(source, RemoteSource):
        yield source
        return
    if isinstance(source, Adapter):
        with weights_folder(list(source.tensors()), ADAPTER_FILE) as folder:
            (folder / "adapter_config.json").write_text(json.dumps(source.config), encoding="utf-8")
            yield AdapterFolder(specs=source.specs, folder=str(folder))
        return
    with weights_folder(list(source.tensors())) as folder:
        yield WeightsFile(specs=source.specs, folder=str(folder))


def _check_can_sleep(engine: str, url: str | None) -> None:
    """Refuses to start an engine that could not free its memory; on a CPU vLLM and SGLang ignore the calls."""
    if url is not None:
        raise ValueError(f"The engine at {url} cannot be sent to sleep: leave out enable_sleep_mode, or url.")
    if not torch.cuda.is_available():
        raise ValueError(
            f"{engine} frees its memory on a GPU only, and torch sees none here: leave out enable_sleep_mode "
            "(sleep_during_update of a training run)."
        )
