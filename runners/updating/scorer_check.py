"""Whether the scorer gives the log-probs of the model's own forward pass: found by comparing, not by the family."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from runners.updating.ranks import is_rank_0, over_ranks
from runners.updating.scorer import Batch, Scorer

logger = logging.getLogger(__name__)

# Nats a token, by the type of the weights: above what rounding does (1e-5, in bfloat16 0.12, with SmolLM2-135M), below
# what it does to see other tokens.
TOLERANCES = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.3}
# Tokens in a row that must all differ: rounding may send a single token of a mixture of experts to another expert.
_RUN = 3
# Tokens that a row is filled up to, for windows that count places in the row; a completion behind a long one has some
# in any case.
_ROW, _SHORT = 1024, 64
# The longest sequence compared: more than a row that completions share ever has, and than the common windows.
_LONGEST = 4224


class ScorerCheck:
    """Compares scorer and model on random tokens, and keeps the scorers from sharing prompts where that is not exact.

    Layers that look back by window, place or state see other tokens in a shared row. A window shows in long sequences
    only, so prompts are shared up to the length that was compared.

    Args:
        scorers: The policy, which is compared, and the reference if there is one.
        group_size: Most completions of a prompt.
    """

    def __init__(self, scorers: Sequence[Scorer], *, group_size: int) -> None:
        self._scorers, self._scorer, self._group_size = scorers, scorers[0], group_size
        model = self._scorer.model
        self._config = model.config.get_text_config()
        self._longest = min(getattr(self._config, "max_position_embeddings", None) or _LONGEST, _LONGEST)
        self._name = f"{model.config.name_or_path!r} ({type(model).__name__})"
        self._compared = 0

    @torch.no_grad()
    def cover(self, length: int) -> None:
        """Compares sequences of `length` tokens, or the most that the context allows, unless longer ones were before.

        All ranks must call it together.

        Raises:
            ValueError: If the model's log-probs are not finite, or the scorer's are others without shared prompts too.
        """
        length = min(over_ranks(max, length), self._longest)
        if length <= self._compared:
            return
        length = min(max(length, 2 * self._compared), self._longest)
        batch = self._batch(length)
        own = self._scorer.model_logprobs({name: column[[0, -1]] for name, column in batch.items()})
        if not own.isfinite().all():
            raise ValueError(
                f"{self._name} gives log-probs that are not finite: NaN or inf stands in the model's files."
            )
        sharing = self._scorer.shared_tokens > 0
        fault = self._fault(batch, own, shared_tokens=length) if sharing else None
        if sharing and fault is None:
            self._compared = length
            self._share(length)
            return
        if (alone := self._fault(batch, own, shared_tokens=0)) is not None:
            raise ValueError(
                f"{self._name} cannot be trained exactly: the learner's log-probs {alone}. Train another model: "
                "--model NAME or agents(policy_model=NAME)."
            )
        if fault is not None and is_rank_0():
            steps = f"steps with more than {self._compared} tokens in a sequence" if self._compared else "all steps"
            logger.warning(
                "share_prompts does not suit %s: with completions of up to %d tokens in a row its log-probs %s. For %s "
                "the learner takes share_prompts=False, which is exact.",
                *(self._name, length, fault, steps),
            )
        self._share(self._compared)
        self._compared = self._longest

    def _share(self, tokens: int) -> None:
        for scorer in self._scorers:
            scorer.shared_tokens = tokens

    def _batch(self, length: int) -> Batch:
        """Returns a group of random tokens: the first sequence has `length` of them, the others fill up a row.

        What is compared of each completion is its beginning and its end, of as many tokens as a pass has logits for.
        """
        prompt = max(1, length // 4)
        room = max(min(_ROW, self._scorer.max_row_tokens) - length, _SHORT)
        others = max(1, min(self._group_size - 1, room // (length - prompt)))
        lengths = torch.tensor([length] + others * [prompt + min(length - prompt, room // others)])
        vocabulary = self._config.vocab_size
        token_ids = torch.randint(vocabulary, (1 + others, length), generator=torch.Generator().manual_seed(0))
        token_ids[:, :prompt] = token_ids[0, :prompt]
        places, ends = torch.arange(length), lengths[:, None]
        compared = max(_RUN, self._scorer.max_logits // vocabulary // 2)
        at_an_end = (places < prompt + compared) | (places >= ends - compared)
        columns = {
            "token_ids": token_ids,
            "loss_mask": (places >= prompt) & (places < ends) & at_an_end,
            "lengths": lengths,
        }
        device = next(self._scorer.parameters()).device
        return {name: column.to(device) for name, column in columns.items()}

    def _fault(self, batch: Batch, own: torch.Tensor, *, shared_tokens: int) -> str | None:
        """Returns what is wrong with the log-probs of the batch's first and last sequence; None if they are `own`."""
        scorer, usual = self._scorer, self._scorer.max_row_tokens
        scorer.shared_tokens, scorer.max_row_tokens = shared_tokens, int(batch["lengths"].sum())
        try:
            logprobs = scorer(batch, with_entropy=False, autocast=False)["logprobs"][[0, -1]]
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a model says that does not take these arguments
            return f"fail with {type(error).__name__}: {' '.join(str(error).split())}"
        finally:
            scorer.max_row_tokens = usual
        apart = [row[mask] for row, mask in zip((logprobs - own).abs(), batch["loss_mask"][[0, -1]], strict=True)]
        largest = max(float(row.unfold(0, min(_RUN, len(row)), 1).amin(-1).max()) for row in apart)
        largest, allowed = over_ranks(max, largest), TOLERANCES[next(scorer.parameters()).dtype]
        return None if largest <= allowed else f"are off the model's own by {largest:.2g} nats (allowed: {allowed})"
