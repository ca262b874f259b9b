"""Log-probabilities, entropies and values of sequences under a Hugging Face causal language model."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from runners.objectives.logprobs import completion_logprobs, token_logprobs
from runners.objectives.packing import MOST_ROW_TOKENS, PackedRows, attention_mask, max_row_tokens, pack
from runners.updating.output_head import model_head
from runners.updating.shared_attention import shared_prompts, use_shared_attention

Batch = dict[str, torch.Tensor]
_COLUMNS = ("token_ids", "loss_mask", "lengths")


class Scorer(torch.nn.Module):
    """Scores token_ids [B, T] wherever loss_mask [B, T] is set: one forward pass, whatever it is for.

    All of it happens in `forward`, so that a sharded scorer has its parameters whole for the embedding, the layers and
    the chunks of logits alike. Dropout is off in every pass: a policy scored with dropout is not the one that was
    sampled.

    With a value head there are values [B, T] too: the return expected before each masked token is chosen, by a linear
    layer, zero at the start, on the same hidden states as the logits. It shares the transformer with the policy and
    stays out of `model`.

    Args:
        model: The language model.
        temperature: > 0, of the distribution that is scored.
        max_logits: Most logits that exist at once.
        share_prompts: Score the sequences of a prompt in one row; see `objectives.packing`.
        value_head: Whether there is one.
        gradient_checkpointing: Keep only each block's input for the backward pass, and run the block again there
            (https://arxiv.org/abs/1604.06174).

    Attributes:
        max_logits: As above.
        max_row_tokens: Most tokens of a row that the completions of a prompt share.
        shared_tokens: Most tokens of a sequence that shares a row: `scorer_check` says up to where it may.

    Raises:
        ValueError: For a model whose blocks are not known where checkpoints need them.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        temperature: float,
        max_logits: int,
        share_prompts: bool,
        value_head: bool = False,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.temperature, self.max_logits = temperature, max_logits
        self.shared_tokens = sys.maxsize if share_prompts else 0
        self._shared_attention = share_prompts and use_shared_attention(model)
        width = model.config.get_text_config().hidden_size
        self.max_row_tokens = MOST_ROW_TOKENS if self._shared_attention else max_row_tokens(width)
        self.vf_head: torch.nn.Linear | None = None
        if value_head:
            weight = model.get_input_embeddings().weight
            self.vf_head = torch.nn.Linear(model.config.get_text_config().hidden_size, 1, device=weight.device)
            torch.nn.init.zeros_(self.vf_head.weight)
            torch.nn.init.zeros_(self.vf_head.bias)
        self._checkpointed = blocks(model) if gradient_checkpointing else []
        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        self.train(False)

    def row_limit(self, lengths: torch.Tensor) -> int | None:
        """Returns `max_row_tokens`, or None where sequences of these lengths [B] get rows of their own."""
        return self.max_row_tokens if bool((lengths <= self.shared_tokens).all()) else None

    def train(self, mode: bool = True) -> Scorer:
        """Stays in evaluation mode, but for the blocks' own flag: transformers checkpoints only where it is set."""
        super().train(False)
        for block in self._checkpointed:
            block.training = True
        return self

    def forward(
        self, batch: Batch, *, with_values: bool = False, autocast: bool = True, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """Returns logprobs and entropies, and with `with_values` values, each [B, T] float32 and 0 outside the mask.

        Args:
            batch: token_ids [B, T] int64, loss_mask [B, T] bool, lengths [B].
            with_values: Whether to return values.
            autocast: Whether the pass runs in bfloat16 on a GPU.
            kwargs: with_entropy and with_entropy_grad of `objectives.logprobs`.
        """
        score = self._score_rows if self.row_limit(batch["lengths"]) is None else self._score_packed
        device = batch["token_ids"].device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=autocast and device == "cuda"):
            return score(batch, with_values, **kwargs)

    def model_logprobs(self, batch: Batch) -> torch.Tensor:
        """Returns the logprobs [B, T] of the model's own forward, one sequence at a time, as `forward` must give them.

        The logits of a sequence's masked tokens exist at once.
        """
        logprobs = torch.zeros(batch["loss_mask"].shape, device=batch["token_ids"].device)
        for row, (ids, mask, length) in enumerate(zip(*(batch[name] for name in _COLUMNS), strict=True)):
            places = mask.nonzero()[:, 0]
            logits = self.model(input_ids=ids[None, :length], use_cache=False, logits_to_keep=places - 1).logits[0]
            logps = torch.log_softmax(logits.float() / self.temperature, dim=-1)
            logprobs[row, places] = logps.gather(1, ids[places, None])[:, 0]
        return logprobs

    def _score_rows(self, batch: Batch, with_values: bool, **kwargs: Any) -> dict[str, torch.Tensor]:
        """Scores every sequence in a row of its own.

        Rows are padded on the right, where a causal model never looks from a real token: no attention mask is needed,
        and the faster kernels apply.
        """
        output = self.model.base_model(input_ids=batch["token_ids"], use_cache=False)
        hidden, loss_mask = output.last_hidden_state, batch["loss_mask"]
        head = partial(model_head, self.model, output)
        logprobs, entropies = completion_logprobs(hidden, head, batch["token_ids"], loss_mask, *self._limits, **kwargs)
        scores = {"logprobs": logprobs, "entropies": entropies}
        if with_values:
            scores["values"] = F.pad(self._values(hidden)[:, :-1], (1, 0)).where(loss_mask, 0.0)
        return scores

    def _score_packed(self, batch: Batch, with_values: bool, **kwargs: Any) -> dict[str, torch.Tensor]:
        """Scores the sequences of a prompt in one row; see `objectives.packing`."""
        token_ids, loss_mask = batch["token_ids"], batch["loss_mask"]
        ids, mask, lengths = (batch[name].cpu().numpy() for name in _COLUMNS)
        packed = pack(ids, mask, lengths, self.max_row_tokens)
        to_device = partial(torch.as_tensor, device=token_ids.device)
        output = self.model.base_model(
            input_ids=to_device(packed.token_ids),
            position_ids=to_device(packed.position_ids),
            use_cache=False,
            **(shared_prompts if self._shared_attention else under_mask)(packed, token_ids.device),
        )
        states = output.last_hidden_state.flatten(0, 1)[to_device(packed.predecessors)]
        head = partial(model_head, self.model, output)
        logprobs, entropies = token_logprobs(states, head, token_ids[loss_mask], *self._limits, **kwargs)
        scores = {"logprobs": logprobs, "entropies": entropies}
        if with_values:
            scores["values"] = self._values(states)
        empty = torch.zeros(loss_mask.shape, device=token_ids.device)
        return {name: empty.masked_scatter(loss_mask, column) for name, column in scores.items()}

    def _values(self, states: torch.Tensor) -> torch.Tensor:
        """Returns the values [...] of hidden states [..., H], in float32 also where the pass is not."""
        assert self.vf_head is not None
        with torch.autocast(states.device.type, enabled=False):
            return self.vf_head(states.float()).squeeze(-1)

    @property
    def _limits(self) -> tuple[float, int]:
        return self.temperature, self.max_logits


def under_mask(packed: PackedRows, device: torch.device) -> dict[str, torch.Tensor]:
    """Returns the model's arguments that keep completions apart by a mask."""
    return {"attention_mask": attention_mask(torch.as_tensor(packed.segments, device=device))}


def blocks(model: PreTrainedModel) -> list[torch.nn.Module]:
    """Returns the transformer's blocks, by the class names that the model itself gives as not to be split.

    Of those that stand in one another the outermost.

    Raises:
        ValueError: For a model that names none.
    """
    names: Iterable[str] = model._no_split_modules or ()
    named = [module for module in model.modules() if type(module).__name__ in set(names)]
    inner = {module for block in named for module in block.modules() if module is not block}
    found = [module for module in named if module not in inner]
    if not found:
        raise ValueError(
            f"{model.config.name_or_path!r} ({type(model).__name__}) does not say which of its modules are blocks: "
            "train it with fully_shard=False and gradient_checkpointing=False."
        )
    return found
