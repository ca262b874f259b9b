"""The transformers agent: any causal language model of the library, sampled in batches on CPU or GPU."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

import torch

from agents.base import Completion, SamplingParams
from agents.engine_output import EngineOutput
from agents.models import resolve_model
from agents.seeds import prompt_seeds
from agents.stop_text import ends_with_stop
from agents.text import TextAgent, check_prompts
from agents.transformers_agent.decoding import Decoder
from agents.transformers_agent.grouped_attention import use_grouped_attention
from agents.transformers_agent.loading import (
    DeviceName,
    DtypeName,
    choose_device,
    choose_dtype,
    context_length,
    load_model,
)
from agents.transformers_agent.stream import Stream, Waiting
from agents.values import AtLeast1
from agents.weight_sources import WeightSource
from agents.weights import TensorSpec, check_specs


class TransformersAgent(TextAgent):
    """Samples with `transformers` in this process.

    Args:
        model: A name `agents.models.resolve_model` knows.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        dtype: "auto" (bfloat16 on a GPU that has it, else float32), "float32", "bfloat16" or "float16".
        max_model_len: Most tokens of prompt and completion; None takes the checkpoint's.
        max_batch_tokens: Positions held in the cache at once; more work is done in several batches.
        trust_remote_code: Whether the checkpoint's folder may run code.
        sampling: What `act` samples with.
    """

    in_process = True
    loads_in_flight = True
    weight_transfers = ("ipc",)

    def __init__(
        self,
        model: str = "tiny",
        *,
        device: DeviceName = "auto",
        dtype: DtypeName = "auto",
        max_model_len: AtLeast1 | None = None,
        max_batch_tokens: AtLeast1 = 131_072,
        trust_remote_code: bool = False,
        sampling: SamplingParams | None = None,
    ) -> None:
        folder = resolve_model(model)
        max_model_len = max_model_len or context_length(folder, trust_remote_code=trust_remote_code)
        self.device = choose_device(device)
        self.model = load_model(
            folder,
            dtype=choose_dtype(dtype, self.device),
            device=self.device,
            trust_remote_code=trust_remote_code,
        )
        use_grouped_attention(self.model)
        super().__init__(
            folder,
            max_model_len=max_model_len,
            sampling=sampling,
            trust_remote_code=trust_remote_code,
        )
        self.max_batch_tokens = max_batch_tokens
        self._numbers = itertools.count()
        self._streams: dict[SamplingParams, Stream] = {}

    def generate(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[list[Completion]]:
        """Samples `params.n` completions for each of N prompts: [N][n], in the prompts' order.

        Prompts of like length are sampled together, in as few batches as `max_batch_tokens` allows.

        Raises:
            ValueError: For an empty prompt, one that leaves no room for a token in the context, or a tuple of seeds
                that are not as many as the prompts.
        """
        numbers, batches = self._begin(prompt_token_ids, params)
        outputs: dict[int, EngineOutput] = {}
        for batch in batches:
            decoder = batch.begin()
            while decoder.num_open:
                outputs |= decoder.step(self.policy_version)
        flat = [number for group in numbers for number in group]
        completions = dict(zip(flat, self.completions([outputs[number] for number in flat], params.stop), strict=True))
        return [[completions[number] for number in group] for group in numbers]

    def submit(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[list[int]]:
        """Begins `params.n` completions for each of N prompts; returns their numbers: [N][n]."""
        numbers, batches = self._begin(prompt_token_ids, params)
        self._stream(params).wait(batches)
        return numbers

    def poll(self, timeout_s: float = 0.0) -> dict[int, Completion]:
        """Appends a token to each open completion; returns those that end with it, by number."""
        ended: dict[int, Completion] = {}
        for params, stream in list(self._streams.items()):
            outputs = stream.step(self.policy_version)
            ended |= dict(zip(outputs, self.completions(list(outputs.values()), params.stop), strict=True))
            if not stream.is_open:
                del self._streams[params]
        return ended

    def check_weights(self, specs: Sequence[TensorSpec]) -> None:
        """Raises ValueError for weights that do not fit the model."""
        check_specs(specs, {name: tuple(parameter.shape) for name, parameter in self.model.named_parameters()})

    def load_weights(self, source: WeightSource, policy_version: int) -> None:
        """Copies the weights into the model in place.

        Raises:
            ValueError: For an unknown or missing name or a wrong shape; nothing is changed then.
        """
        self.check_weights(source.specs)
        parameters = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, tensor in source.tensors():
                parameters[name].copy_(tensor)
        self.policy_version = policy_version

    def _begin(self, prompts: Sequence[Sequence[int]], params: SamplingParams) -> tuple[list[list[int]], list[Waiting]]:
        """Returns the completions' numbers, [N][n], and the batches to begin."""
        check_prompts(prompts, params.seed, self.max_model_len)
        numbers = [list(islice(self._numbers, params.n)) for _ in prompts]
        seeds = prompt_seeds(params.seed, len(prompts))
        completes_stop = partial(ends_with_stop, self.tokenizer, stop=params.stop) if params.stop else None
        begun = dict.fromkeys(range(len(prompts)), 0)  # of each prompt, where its n are spread over batches
        batches = []
        for rows, batch in self._batches(prompts, params):
            first = begun[rows[0]]
            begin = partial(
                Decoder,
                self.model,
                [prompts[row] for row in rows],
                batch,
                numbers=[number for row in rows for number in numbers[row][first : first + batch.n]],
                end_token_ids=self.end_token_ids,
                seeds=[seeds[row] for row in rows],
                version=lambda: self.policy_version,
                first=first,
                completes_stop=completes_stop,
            )
            count, longest = len(rows) * batch.n, len(prompts[rows[-1]])
            batches.append(Waiting(rows=count, positions=count * (longest + batch.max_tokens), begin=begin))
            begun |= dict.fromkeys(rows, first + batch.n)
        return numbers, batches

    def _stream(self, params: SamplingParams) -> Stream:
        """Returns that of completions sampled alike: they may share a batch."""
        alike = replace(params, n=1, max_tokens=1, seed=None)
        return self._streams.setdefault(alike, Stream(self.max_batch_tokens))

    def _batches(
        self, prompts: Sequence[Sequence[int]], params: SamplingParams
    ) -> Iterator[tuple[list[int], SamplingParams]]:
        """Yields rows of like length with the parameters to sample them by: room in the context, n in one batch."""
        order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
        start = 0
        while start < len(order):
            end = start + 1
            while end < len(order) and self._fits(len(prompts[order[end]]), end + 1 - start, params):
                end += 1
            rows = order[start:end]
            longest = len(prompts[rows[-1]])
            room = min(params.max_tokens, self.max_model_len - longest)
            remaining = params.n
            while remaining:
                n = min(remaining, max(1, self.max_batch_tokens // (len(rows) * (longest + room))))
                yield rows, replace(params, n=n, max_tokens=room)
                remaining -= n
            start = end

    def _fits(self, longest: int, rows: int, params: SamplingParams) -> bool:
        # A prompt near the context's end would cut short the others of its batch.
        if longest + params.max_tokens > self.max_model_len:
            return False
        return rows * params.n * (longest + params.max_tokens) <= self.max_batch_tokens
