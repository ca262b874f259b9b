"""Keys and values of the sequences that were read last, found again by their tokens when one more was written."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad
from transformers import PreTrainedModel

from agents.transformers_agent.cache import SamplingCache
from agents.transformers_agent.next_token import next_token_logits
from runners.token_module.prefixes import sequence_keys


class PrefixCache:
    """Next-token logits of sequences most of which are those of the call before and one token more.

    Of these the last token alone is computed; the others are read from their start. Rows are aligned on the right, as
    in the transformers agent. What a call does not go on with is forgotten, so there are never more rows than a call
    had; where they would take more than `max_positions`, nothing is kept. A change of any weight, by an optimizer or
    `load_state_dict`, empties the cache; only what is written through `parameter.data` goes unseen.

    A copy or a pickle of it is empty.

    Args:
        max_positions: Most tokens held, padding included: rows times the length of the longest.
    """

    def __init__(self, max_positions: int) -> None:
        self._max_positions = max_positions
        self.clear()

    def __reduce__(self) -> tuple[Any, ...]:
        return PrefixCache, (self._max_positions,)

    def clear(self) -> None:
        """Forgets every sequence."""
        self._keys: list[bytes] = []  # [R] of the rows
        self._cache: SamplingCache | None = None  # of R rows, T positions
        self._mask = torch.zeros(0, 0, dtype=torch.long)  # [R, T] 0 on padding
        self._weights: list[tuple[int, int]] = []

    @property
    def positions(self) -> int:
        """Tokens held, padding included."""
        return self._mask.numel()

    @torch.no_grad()
    def logits(self, model: PreTrainedModel, token_ids: np.ndarray, lengths: np.ndarray) -> torch.Tensor | None:
        """Returns the next-token logits [B, V], or None where they do not fit.

        Args:
            model: The same at every call.
            token_ids: int [B, T], padded on the right with whatever.
            lengths: int [B], each at least 1.
        """
        weights = _versions(model)
        if weights != self._weights:
            self.clear()
            self._weights = weights
        known = self._known(sequence_keys(token_ids, lengths - 1))
        goes_on = list(known.values())
        begins = sorted(set(range(len(lengths))) - set(goes_on))
        width = max([self._mask.shape[1] + 1] * bool(known) + lengths[begins].tolist())
        if len(lengths) * width > self._max_positions:
            self.clear()
            return None
        self._keys = []  # until all is done, so that nothing is found that an error has left half written
        parts = []
        if known:
            self._keep(list(known))
            parts.append(self._advance(model, token_ids[goes_on, lengths[goes_on] - 1]))
        if begins:
            new, mask, logits = _read(model, [token_ids[row, : lengths[row]] for row in begins])
            parts.append(logits)
            if known:
                self._join(new, mask)
            else:
                self._cache, self._mask = new, mask
        order = [*goes_on, *begins]
        self._keys = sequence_keys(token_ids[order], lengths[order])
        back = torch.as_tensor(np.argsort(order), device=model.device)
        return torch.cat(parts)[back]

    def _known(self, prefixes: list[bytes]) -> dict[int, int]:
        """Returns row here -> row of the call that goes on with it, in the order of the rows here."""
        rows = defaultdict(list)
        for row, key in enumerate(self._keys):
            rows[key].append(row)
        return dict(sorted((rows[key].pop(), number) for number, key in enumerate(prefixes) if rows.get(key)))

    def _keep(self, rows: list[int]) -> None:
        """Drops the other rows."""
        if len(rows) == len(self._mask):
            return
        assert self._cache is not None
        kept = torch.as_tensor(rows, device=self._mask.device)
        mask = self._mask[kept]
        padding = int(mask.argmax(dim=1).min())
        self._mask = mask[:, padding:]
        self._cache.select(kept, padding)

    def _advance(self, model: PreTrainedModel, last: np.ndarray) -> torch.Tensor:
        """Returns the logits [R, V] after another token [R] of every row."""
        assert self._cache is not None
        self._mask = pad(self._mask, (0, 1), value=1)
        ids = torch.as_tensor(last, dtype=torch.long, device=model.device)[:, None]
        return next_token_logits(model, self._cache, ids, self._mask)

    def _join(self, new: SamplingCache, mask: torch.Tensor) -> None:
        """Takes further rows."""
        assert self._cache is not None
        width = max(mask.shape[1], self._mask.shape[1])
        paddings = width - self._mask.shape[1], width - mask.shape[1]
        self._cache.join(new, *paddings)
        self._mask = torch.cat([pad(self._mask, (paddings[0], 0)), pad(mask, (paddings[1], 0))])


def _read(model: PreTrainedModel, rows: list[np.ndarray]) -> tuple[SamplingCache, torch.Tensor, torch.Tensor]:
    """Reads sequences from their start; returns their cache, their mask [R, T] and the logits [R, V] behind them."""
    width = max(map(len, rows))
    ids, mask = torch.zeros(2, len(rows), width, dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, width - len(row) :] = torch.as_tensor(row)
        mask[number, width - len(row) :] = 1
    mask = mask.to(model.device)
    try:
        cache = SamplingCache(model.config)
        logits = next_token_logits(model, cache, ids.to(model.device), mask)
        cache.repeat(1, reserve=1)
    except ValueError as error:
        raise ValueError(f"{error} In CausalLMModule, cache_positions=0 samples it without a cache.") from error
    return cache, mask, logits


def _versions(model: PreTrainedModel) -> list[tuple[int, int]]:
    """Returns what changes with every weight that is replaced or written in place: where it is, and PyTorch's count."""
    return [(parameter.data_ptr(), parameter._version) for parameter in model.parameters()]
