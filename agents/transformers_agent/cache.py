"""A key-value cache for batched sampling: written in place, repeated once a prompt, shrunk as rows finish."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.cache_utils import Cache, DynamicLayer, LinearAttentionLayer, get_layer_types_and_kwargs


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

    def join(self, other: SamplingLayer, padding: int, other_padding: int) -> None:
        """Takes over the rows of `other`, with as many positions of padding before its rows and these."""
        keys, values = (
            torch.cat([_padded(mine, self.length, padding), _padded(theirs, other.length, other_padding)])
            for mine, theirs in ((self.key_buffer, other.key_buffer), (self.value_buffer, other.value_buffer))
        )
        self.length += padding
        self.key_buffer, self.value_buffer = (self._grown(buffer, self.length + 1) for buffer in (keys, values))

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


class StateLayer(LinearAttentionLayer):
    """A layer of linear attention or convolutions, whose states have no positions."""

    def repeat(self, repeats: int, reserve: int) -> None:
        """Repeats every row `repeats` times."""
        self._replace(lambda state: state.repeat_interleave(repeats, dim=0))

    def select(self, rows: torch.Tensor, first_position: int) -> None:
        """Keeps `rows` [R]; the model has kept padding out of the states."""
        self._replace(lambda state: state.index_select(0, rows))

    def join(self, other: StateLayer, padding: int, other_padding: int) -> None:
        """Takes over the rows of `other`."""
        for mine, theirs in (
            (self.conv_states, other.conv_states),
            (self.recurrent_states, other.recurrent_states),
        ):
            both = ((number, state, theirs[number]) for number, state in mine.items())
            mine.update({number: torch.cat([a, b]) for number, a, b in both if a is not None and b is not None})

    def _replace(self, new: Callable[[torch.Tensor], torch.Tensor]) -> None:
        for states in (self.conv_states, self.recurrent_states):
            states.update({number: new(state) for number, state in states.items() if state is not None})


class HybridLayer(StateLayer, SamplingLayer):  # type: ignore[misc, override]
    """A layer with a state beside keys and values."""

    def __init__(self, **kwargs: Any) -> None:
        SamplingLayer.__init__(self)
        StateLayer.__init__(self, **kwargs)

    def lazy_initialization(self, *keys_and_values: Any, **states: Any) -> None:
        """Takes the first keys and values, or the first of the states."""
        if keys_and_values:
            SamplingLayer.lazy_initialization(self, *keys_and_values)
        else:
            StateLayer.lazy_initialization(self, **states)

    def repeat(self, repeats: int, reserve: int) -> None:
        """As both do."""
        StateLayer.repeat(self, repeats, reserve)
        SamplingLayer.repeat(self, repeats, reserve)

    def select(self, rows: torch.Tensor, first_position: int) -> None:
        """As both do."""
        StateLayer.select(self, rows, first_position)
        SamplingLayer.select(self, rows, first_position)

    def join(self, other: HybridLayer, padding: int, other_padding: int) -> None:  # type: ignore[override]
        """As both do."""
        StateLayer.join(self, other, padding, other_padding)
        SamplingLayer.join(self, other, padding, other_padding)


def _padded(buffer: torch.Tensor, length: int, padding: int) -> torch.Tensor:
    """Returns the first `length` positions of [B, H, T, D] behind `padding` of zeros."""
    return torch.nn.functional.pad(buffer[:, :, :length], (0, 0, padding, 0))


# By transformers' names for the kinds. How far back a window or a chunk looks is in the mask.
_LAYERS: dict[str, type[SamplingLayer | StateLayer]] = {
    **dict.fromkeys(("full_attention", "sliding_attention", "chunked_attention"), SamplingLayer),
    **dict.fromkeys(("linear_attention", "conv", "moe", "mlp"), StateLayer),
    **dict.fromkeys(("hybrid", "hybrid_sliding"), HybridLayer),
}


class SamplingCache(Cache):
    """A cache with the layers that a model needs.

    Raises:
        ValueError: For a model with layers that are none of `_LAYERS`.
    """

    layers: list[SamplingLayer | StateLayer]  # type: ignore[assignment]

    def __init__(self, config: PreTrainedConfig) -> None:
        kinds, options = get_layer_types_and_kwargs(config.get_text_config(decoder=True))
        if unknown := set(kinds) - set(_LAYERS):
            raise _refusal(config, f"has layers of a kind that it does not know ({', '.join(sorted(unknown))})")
        self._config = config
        super().__init__(layers=[_LAYERS[kind](**of_one) for kind, of_one in zip(kinds, options, strict=False)])

    def repeat(self, repeats: int, reserve: int) -> None:
        """Repeats every row of every layer.

        Raises:
            ValueError: If the model has not put here what it needs to go on.
        """
        if not all(layer.is_initialized for layer in self.layers if isinstance(layer, SamplingLayer)):
            raise _refusal(self._config, "keeps what it has read in itself and not in a cache")
        for layer in self.layers:
            layer.repeat(repeats, reserve)

    def select(self, rows: torch.Tensor, first_position: int = 0) -> None:
        """Keeps `rows` of every layer, without the positions before `first_position`."""
        for layer in self.layers:
            layer.select(rows, first_position)

    def join(self, other: SamplingCache, padding: int, other_padding: int) -> None:
        """Takes over the rows of `other`; each side gets so many positions of padding before its own."""
        for layer, theirs in zip(self.layers, other.layers, strict=True):
            layer.join(theirs, padding, other_padding)  # type: ignore[arg-type]


def _refusal(config: PreTrainedConfig, reason: str) -> ValueError:
    return ValueError(
        f"The engine 'transformers' cannot sample {config.name_or_path!r} ({config.model_type}), which {reason}: "
        "use engine 'vllm' or 'sglang', or another model."
    )
