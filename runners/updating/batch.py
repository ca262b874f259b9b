"""From rollouts to the arrays of one update: advantages, loss weights, the minibatch plan, the order of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runners.objectives.advantages import GroupAdvantages
from runners.objectives.batching import plan_minibatches
from runners.objectives.reductions import Aggregation, sequence_loss_weights
from runners.sampling.rollout import Rollout, SampledTokens


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """How a step's sequences are spread over optimizer steps.

    Attributes:
        minibatch_size: Sequences in an optimizer step, over all learners; None takes all B.
        num_epochs: Passes over the B sequences.
        aggregation: How token losses become one number; see `sequence_loss_weights`.
        max_tokens: The constant length of a turn in aggregation "constant-length".
        mask_truncated: Leave sequences cut by max_tokens out of the loss and its denominators.
        num_learners: Learners that share the rows, >= 1.
    """

    minibatch_size: int | None
    num_epochs: int
    aggregation: Aggregation
    max_tokens: int
    mask_truncated: bool
    num_learners: int


def padded_columns(rollouts: Sequence[SampledTokens]) -> dict[str, np.ndarray]:
    """Returns the sequences as right-padded arrays.

    Returns:
        token_ids [B, T] int64, loss_mask [B, T] bool (True on the policy's own tokens), rollout_logprobs [B, T] float32
        (0 off the mask), lengths [B] int64 of prompt and completion.
    """
    prompts = np.array([len(r.prompt_token_ids) for r in rollouts])
    lengths = prompts + np.array([len(r.completion_token_ids) for r in rollouts])
    token_ids = np.zeros((len(rollouts), int(lengths.max())), dtype=np.int64)
    logprobs = np.zeros(token_ids.shape, dtype=np.float32)
    loss_mask = np.zeros(token_ids.shape, dtype=np.bool_)
    for row, (rollout, start, end) in enumerate(zip(rollouts, prompts, lengths, strict=True)):
        token_ids[row, :start] = rollout.prompt_token_ids
        token_ids[row, start:end] = rollout.completion_token_ids
        logprobs[row, start:end] = rollout.rollout_logprobs
        loss_mask[row, start:end] = rollout.completion_mask
    return {"token_ids": token_ids, "loss_mask": loss_mask, "rollout_logprobs": logprobs, "lengths": lengths}


def build_train_batch(
    rollouts: Sequence[Rollout], advantages: GroupAdvantages, plan: BatchPlan, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Returns the columns of one update, each with B rows.

    Besides `padded_columns`: advantages [B] float32, and one column for every epoch e: `minibatch_{e}` [B] int64, the
    optimizer step a row belongs to, and `loss_weights_{e}` [B] float32, its factor in that step's loss. The factors'
    denominators run over the whole minibatch, so micro-batches and learners only add up.

    Groups stay together in a minibatch. Rows are ordered so that contiguous equal shards hold equal parts of every
    minibatch of the first epoch.

    Raises:
        ValueError: If whole groups do not fill the minibatches, or learners cannot share a minibatch equally.
    """
    size = len(rollouts)
    minibatch_size = plan.minibatch_size or size
    if minibatch_size % plan.num_learners or size % plan.num_learners:
        raise ValueError(
            f"minibatch_size={minibatch_size} (of {size} sequences) does not divide by num_learners="
            f"{plan.num_learners}: choose a multiple of it."
        )
    group_ids = np.array([r.group_id for r in rollouts])
    minibatches = plan_minibatches(size, minibatch_size, plan.num_epochs, rng, group_ids)
    columns = padded_columns(rollouts)
    columns["advantages"] = advantages.advantages.astype(np.float32)
    truncated = np.array([r.finish_reason == "length" for r in rollouts])
    valid = advantages.valid & ~(truncated & plan.mask_truncated)
    lengths, turns = columns["loss_mask"].sum(axis=1), np.array([r.num_turns for r in rollouts])
    for epoch, ids in enumerate(minibatches):
        weights = np.zeros(size)
        for minibatch in range(size // minibatch_size):
            rows = ids == minibatch
            weights[rows] = sequence_loss_weights(
                lengths[rows], valid[rows], plan.aggregation, plan.max_tokens, turns[rows]
            )
        columns[f"minibatch_{epoch}"] = ids
        columns[f"loss_weights_{epoch}"] = weights.astype(np.float32)
    order = _shard_order(minibatches[0], plan.num_learners)
    return {name: column[order] for name, column in columns.items()}


def _shard_order(minibatch_ids: np.ndarray, num_shards: int) -> np.ndarray:
    """Returns a row order whose contiguous equal shards each hold the same number of rows of each minibatch.

    Neighbouring rows, and so the rows of a group, stay in one shard where the sizes allow.
    """
    by_minibatch = np.argsort(minibatch_ids, kind="stable").reshape(minibatch_ids.max() + 1, num_shards, -1)
    return by_minibatch.transpose(1, 0, 2).ravel()
