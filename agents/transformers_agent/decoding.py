"""Rows that are completed together: one prefill a prompt, n rows each, a token a step, dropped as they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

from agents.base import SamplingParams
from agents.engine_output import EngineOutput, engine_output
from agents.transformers_agent.cache import SamplingCache
from agents.transformers_agent.next_token import next_token_logits
from agents.transformers_agent.sampling import draw, row_uniforms, sampled_logprobs

# Rows are dropped from the batch once this share of them has ended: dropping copies the cache.
_SHRINK_BELOW = 0.75
# What a Decoder holds for each row: a value, or one for each token.
_OF_ROWS = ("_numbers", "_counts", "_limits", "_open", "_logits_version")
_OF_TOKENS = ("_token_ids", "_logprobs", "_uniforms", "_versions")


class Decoder:
    """Completes R rows, each up to a limit of its own.

    Prompts are padded on the left; positions and attention skip the padding.

    Args:
        model: Scores the tokens.
        prompts: [N][P] ids.
        params: How to sample, and `n` and `max_tokens`; `params.stop` is what `completes_stop` looks for.
        numbers: [N * n] what the rows are called, prompt-major.
        end_token_ids: The model's own end tokens.
        seeds: [N] of the prompts, see `row_uniforms`.
        first: Number of each prompt's first completion here.
        version: Returns the version of the model's weights.
        completes_stop: Whether a completion's ids so far end with a stop text; None where there is none.

    Attributes:
        num_open: Rows that have not ended.
        positions: Of the cache, R' * (T + the most tokens still to come): rows that have ended count until dropped.
    """

    @torch.inference_mode()
    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams,
        *,
        numbers: Sequence[int],
        end_token_ids: Sequence[int],
        seeds: Sequence[int | None],
        first: int,
        version: Callable[[], int],
        completes_stop: Callable[[list[int]], bool] | None = None,
    ) -> None:
        self._model, self._params, self._completes_stop = model, params, completes_stop
        device, rows = model.device, len(prompts) * params.n
        self._ends = torch.tensor([*end_token_ids, *params.stop_token_ids], device=device)

        width = max(map(len, prompts))
        ids = torch.zeros(len(prompts), width, dtype=torch.long)
        mask = torch.zeros(len(prompts), width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        self._cache, self._mask = SamplingCache(model.config), mask.to(device)
        self._logits = self._forward(ids.to(device)).repeat_interleave(params.n, dim=0)
        self._cache.repeat(params.n, reserve=params.max_tokens)
        self._mask = self._mask.repeat_interleave(params.n, dim=0)

        self._numbers = torch.tensor(numbers, device=device)
        self._uniforms = row_uniforms(seeds, first, params).to(device)
        self._token_ids = torch.zeros(rows, params.max_tokens, dtype=torch.long, device=device)
        self._logprobs = torch.zeros(rows, params.max_tokens, device=device)
        self._counts = torch.zeros(rows, dtype=torch.long, device=device)
        self._limits = torch.full((rows,), params.max_tokens, device=device)
        self._open = torch.ones(rows, dtype=torch.bool, device=device)
        self._logits_version = torch.full((rows,), version(), device=device)
        self._versions = torch.zeros_like(self._token_ids)
        self.num_open = rows

    @property
    def positions(self) -> int:
        """See the class."""
        return len(self._open) * (self._mask.shape[1] + int((self._limits - self._counts).max()))

    @torch.inference_mode()
    def step(self, policy_version: int) -> dict[int, EngineOutput]:
        """Appends a token to each open row; returns the completions that end with it, by number.

        Args:
            policy_version: Of the model's weights now; the token comes from logits that are older.
        """
        distribution = sampled_logprobs(self._logits, self._params)
        place = self._counts.clamp(max=self._uniforms.shape[1] - 1)[:, None]
        drawn = draw(distribution, self._params, self._uniforms.gather(1, place)[:, 0])
        rows = self._open.nonzero()[:, 0]
        at = rows, self._counts[rows]
        self._token_ids[at] = drawn[rows]
        self._logprobs[at] = distribution[rows, drawn[rows]]
        self._versions[at] = self._logits_version[rows]
        self._counts[rows] += 1
        stopped = torch.isin(drawn, self._ends)
        if self._completes_stop is not None:
            stopped[rows] |= torch.tensor([self._completes_stop(ids) for ids in self._ids(rows)], device=rows.device)
        ending = self._open & (stopped | (self._counts == self._limits))
        ended = self._outputs(ending.nonzero()[:, 0], stopped)
        self._open &= ~ending
        self.num_open = int(self._open.sum())
        if self.num_open:
            if self.num_open < _SHRINK_BELOW * len(self._open):
                keep = self._open.nonzero()[:, 0]
                drawn = drawn[keep]
                self._select(keep)
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], dim=1)
            self._logits = self._forward(drawn[:, None])
            self._logits_version.fill_(policy_version)
        return ended

    @torch.inference_mode()
    def join(self, other: Decoder) -> None:
        """Takes over the rows of `other`, which samples alike, and is not used afterwards."""
        width = max(self._mask.shape[1], other._mask.shape[1])
        paddings = [width - one._mask.shape[1] for one in (self, other)]
        self._cache.join(other._cache, *paddings)
        self._mask = torch.cat(
            [
                torch.nn.functional.pad(one._mask, (padding, 0))
                for one, padding in zip((self, other), paddings, strict=True)
            ]
        )
        for name in _OF_TOKENS:
            setattr(self, name, _stacked(getattr(self, name), getattr(other, name)))
        for name in ("_logits", *_OF_ROWS):
            setattr(self, name, torch.cat([getattr(self, name), getattr(other, name)]))
        self.num_open += other.num_open

    def _select(self, keep: torch.Tensor) -> None:
        mask = self._mask[keep]
        padding = int(mask.argmax(dim=1).min())
        self._mask = mask[:, padding:]
        self._cache.select(keep, padding)
        for name in (*_OF_ROWS, *_OF_TOKENS):
            setattr(self, name, getattr(self, name)[keep])

    def _ids(self, rows: torch.Tensor) -> list[list[int]]:
        return [
            ids[:count] for ids, count in zip(*(x[rows].tolist() for x in (self._token_ids, self._counts)), strict=True)
        ]

    def _outputs(self, rows: torch.Tensor, stopped: torch.Tensor) -> dict[int, EngineOutput]:
        fields = (self._numbers, self._token_ids, self._logprobs, self._versions, self._counts, stopped)
        return {
            number: engine_output(ids[:count], logprobs[:count], "stop" if stop else "length", versions[:count])
            for number, ids, logprobs, versions, count, stop in zip(
                *(field[rows].tolist() for field in fields), strict=True
            )
        }

    def _forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Returns the next-token logits [R, V] after `ids` [R, S]; the mask [R, T] is over past and present."""
        return next_token_logits(self._model, self._cache, ids, self._mask)


def _stacked(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Returns rows of two widths under each other, zeros behind the shorter ones."""
    width = max(a.shape[1], b.shape[1])
    return torch.cat([torch.nn.functional.pad(one, (0, width - one.shape[1])) for one in (a, b)])
