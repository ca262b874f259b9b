"""Scores each prompt once: the completions of a prompt stand behind it in one row, each blind to the others.

A group's G sequences repeat its prompt G times. In one row - the prompt, then every completion - with an attention mask
that lets a completion see the prompt and itself only, and positions that start anew behind the prompt, every token gets
the hidden state it has in a sequence of its own, for P + G * C tokens instead of G * (P + C).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

# Of a row that completions share; an attention mask would grow with its square.
MOST_ROW_TOKENS = 4096


def max_row_tokens(hidden_size: int) -> int:
    """Returns the most tokens of a row that completions share under a mask; a longer group is spread over several.

    A token of a model of width H costs about 24 H^2 operations a layer in its matrices and 4 L H in the attention over
    a row of L, masked places included: at L = 4 H two thirds as much again. Beyond, sharing the prompt saves less than
    the attention between completions that may not see each other costs.
    """
    return min(MOST_ROW_TOKENS, 4 * hidden_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedRows:
    """Sequences packed into R rows of up to L tokens.

    Attributes:
        token_ids: [R, L] int64, 0 where empty.
        position_ids: [R, L] int64, the token's place in its own sequence.
        segments: [R, L] int64, 0 for the prompt, 1, 2, ... for the completions behind it, -1 where empty.
        predecessors: [M] int64, for each masked token, in the order of the [B, T] loss mask's rows, the place in the
            flattened [R * L] of the token before it, whose hidden state predicts it.
    """

    token_ids: np.ndarray
    position_ids: np.ndarray
    segments: np.ndarray
    predecessors: np.ndarray


def prompt_lengths(loss_mask: np.ndarray) -> np.ndarray:
    """Returns [B] the tokens before each row's first masked one; its whole width where nothing is masked."""
    return np.where(loss_mask.any(axis=1), loss_mask.argmax(axis=1), loss_mask.shape[1])


def shared_rows(
    token_ids: np.ndarray, loss_mask: np.ndarray, lengths: np.ndarray, max_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """Says which sequences may share a row: those whose prompts are equal, as many as fit.

    Args:
        token_ids: [B, T] int64, prompt and completion, padded on the right.
        loss_mask: [B, T] bool, True on the policy's own tokens.
        lengths: [B] tokens of prompt and completion.
        max_tokens: Most tokens of a row that several share; see `max_row_tokens`.

    Returns:
        unit [B] int64, the number of each sequence's row, and its tokens [R] int64.
    """
    prompts = np.minimum(prompt_lengths(loss_mask), lengths)
    units = np.zeros(len(token_ids), dtype=np.int64)
    tokens: list[int] = []
    open_unit: dict[bytes, int] = {}
    for row, (prompt, length) in enumerate(zip(prompts, lengths, strict=True)):
        key = token_ids[row, :prompt].tobytes()
        unit = open_unit.get(key)
        if unit is None or tokens[unit] + length - prompt > max_tokens:
            unit = open_unit[key] = len(tokens)
            tokens.append(int(prompt))
        tokens[unit] += int(length - prompt)
        units[row] = unit
    return units, np.array(tokens, dtype=np.int64)


def pack(token_ids: np.ndarray, loss_mask: np.ndarray, lengths: np.ndarray, max_tokens: int) -> PackedRows:
    """Packs sequences into the rows of `shared_rows`; arguments as there."""
    units, tokens = shared_rows(token_ids, loss_mask, lengths, max_tokens)
    prompts = np.minimum(prompt_lengths(loss_mask), lengths)
    shape = (len(tokens), int(tokens.max()))
    ids, positions = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    segments = np.full(shape, -1, dtype=np.int64)
    filled, count = np.zeros(len(tokens), dtype=np.int64), np.zeros(len(tokens), dtype=np.int64)
    place = np.zeros(token_ids.shape, dtype=np.int64)  # where each token of [B, T] went, in [R * L]
    for row, (unit, prompt, length) in enumerate(zip(units, prompts, lengths, strict=True)):
        if count[unit] == 0:
            ids[unit, :prompt] = token_ids[row, :prompt]
            positions[unit, :prompt] = np.arange(prompt)
            segments[unit, :prompt] = 0
            filled[unit] = prompt
        count[unit] += 1
        start, end = filled[unit], filled[unit] + length - prompt
        ids[unit, start:end] = token_ids[row, prompt:length]
        positions[unit, start:end] = np.arange(prompt, length)
        segments[unit, start:end] = count[unit]
        place[row, :prompt] = unit * shape[1] + np.arange(prompt)
        place[row, prompt:length] = unit * shape[1] + np.arange(start, end)
        filled[unit] = end
    predecessors = place[:, :-1][loss_mask[:, 1:]]
    return PackedRows(token_ids=ids, position_ids=positions, segments=segments, predecessors=predecessors)


def attention_mask(segments: torch.Tensor) -> torch.Tensor:
    """Returns [R, 1, L, L] bool: True where a token (third axis) may see another (fourth).

    A token sees the prompt and its own completion, up to itself. An empty place sees itself, since a softmax over
    nothing is not a number.

    Args:
        segments: [R, L] int64, as in `PackedRows`.
    """
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    query, key = segments[:, :, None], segments[:, None, :]
    visible = causal & ((key == 0) | (key == query)) & (key >= 0)
    visible |= torch.eye(length, dtype=torch.bool, device=segments.device)
    return visible[:, None]
