"""The transformers agent: any causal language model of the library, sampled in batches on CPU or GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch

from agents.base import Completion, SamplingParams
from agents.engine_output import engine_output
from agents.models import resolve_model
from agents.seeds import prompt_seeds
from agents.stop_text import ends_with_stop
from agents.text import TextAgent, check_prompts
from agents.transformers_agent.loading import (
    DeviceName,
    DtypeName,
    choose_device,
    choose_dtype,
    context_length,
    load_model,
)
from agents.transformers_agent.sampling import Sampled, row_uniforms, sample
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
        super().__init__(
            folder,
            max_model_len=max_model_len,
            sampling=sampling,
            trust_remote_code=trust_remote_code,
        )
        self.max_batch_tokens = max_batch_tokens

    def generate(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[list[Completion]]:
        """Samples `params.n` completions for each of N prompts: [N][n], in the prompts' order.

        Prompts of like length are sampled together, in as few batches as `max_batch_tokens` allows.

        Raises:
            ValueError: For an empty prompt, one that leaves no room for a token in the context, or a tuple of seeds
                that are not as many as the prompts.
        """
        check_prompts(prompt_token_ids, params.seed, self.max_model_len)
        seeds = prompt_seeds(params.seed, len(prompt_token_ids))
        completes_stop = partial(ends_with_stop, self.tokenizer, stop=params.stop) if params.stop else None
        completions: list[list[Completion]] = [[] for _ in prompt_token_ids]
        for rows, batch_params in self._batches(prompt_token_ids, params):
            done = len(completions[rows[0]])  # of each of these prompts, where its n are spread over batches
            sampled = sample(
                self.model,
                [prompt_token_ids[row] for row in rows],
                batch_params,
                end_token_ids=self.end_token_ids,
                uniforms=row_uniforms([seeds[row] for row in rows], done, batch_params).to(self.device),
                completes_stop=completes_stop,
            )
            flat = self._completions(sampled, params.stop)
            for place, row in enumerate(rows):
                completions[row] += flat[place * batch_params.n : (place + 1) * batch_params.n]
        return completions

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

    def _completions(self, sampled: Sampled, stop: Sequence[str]) -> list[Completion]:
        fields = (sampled.token_ids, sampled.logprobs, sampled.lengths, sampled.ended)
        outputs = [
            engine_output(ids[:length], logprobs[:length], "stop" if ended else "length")
            for ids, logprobs, length, ended in zip(*(field.tolist() for field in fields), strict=True)
        ]
        return self.completions(outputs, stop)
