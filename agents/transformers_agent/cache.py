"""A key-value cache for batched sampling: written in place, repeated once a prompt, shrunk as rows finish."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer


class SamplingLayer(DynamicLayer):
    """A layer whose buffer grows by blocks, so that a decoding step copies one position and not the whole past.

    `DynamicLayer.update` concatenates, which copies [B, H, T, D] at every step: over a completion that is quadratic.
    """

    BLOCK = 32

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Takes type and device of the first keys; the buffers are made by `update`."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.length = 0
        self.key_buffer = key_states.new_empty(*key_states.shape[:2], 0, key_states.shape[3])
        self.value_buffer = value_states.new_empty(*value_states.shape[:2], 0, value_states.shape[3])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends [B, H, S, D] keys and values; returns views of everything so far, [B, H, T, D]."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, end = self.length, self.length + key_states.shape[-2]
        if end > self.key_buffer.shape[-2]:
            self.key_buffer = self._grown(self.key_buffer, end)
            self.value_buffer = self._grown(self.value_buffer, end)
        self.key_buffer[:, :, start:end] = key_states
        self.value_buffer[:, :, start:end] = value_states
        self.length = end
        return self.key_buffer[:, :, :end], self.value_buffer[:, :, :end]

    def get_seq_length(self) -> int:
        """Returns the number of positions held."""
        return self.length if self.is_initialized else 0

    def repeat(self, repeats: int, reserve: int) -> None:
        """Repeats every row `repeats` times, with room for `reserve` more positions."""
        rows = torch.arange(len(self.key_buffer), device=self.device).repeat_interleave(repeats)
        self._keep(rows, 0, reserve)

    def select(self, rows: torch.Tensor, first_position: int) -> None:
        """Keeps `rows` [R], and drops the positions before `first_position`, which are padding in all of them."""
        self._keep(rows, first_position, 1)

    def _keep(self, rows: torch.Tensor, first_position: int, reserve: int) -> None:
        kept = slice(first_position, self.length)
        self.length -= first_position
        self.key_buffer, self.value_buffer = (
            self._grown(buffer[:, :, kept].index_select(0, rows), self.length + reserve)
            for buffer in (self.key_buffer, self.value_buffer)
        )

    def _grown(self, buffer: torch.Tensor, needed: int) -> torch.Tensor:
        size = -(-needed // self.BLOCK) * self.BLOCK
        grown = buffer.new_empty(*buffer.shape[:2], size, buffer.shape[3])
        grown[:, :, : buffer.shape[2]] = buffer
        return grown


class SamplingCache(Cache):
    """A cache of `SamplingLayer`s."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=SamplingLayer)

    def repeat(self, repeats: int, reserve: int) -> None:
        """Repeats every row of every layer."""
        for layer in self._sampling_layers():
            layer.repeat(repeats, reserve)

    def select(self, rows: torch.Tensor, first_position: int = 0) -> None:
        """Keeps `rows` of every layer, without the positions before `first_position`."""
        for layer in self._sampling_layers():
            layer.select(rows, first_position)

    def _sampling_layers(self) -> Iterator[SamplingLayer]:
        return (layer for layer in self.layers if isinstance(layer, SamplingLayer))
