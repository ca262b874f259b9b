"""The Updater: model, optimizers and objective; a batch in, new weights and statistics out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from agents.weights import TensorSpec
from runners.objectives.importance import warn_on_mismatch
from runners.objectives.kl import kl_in_reward
from runners.objectives.objective import ObjectiveConfig, ObjectiveInputs, policy_loss
from runners.objectives.stats import PolicyStats
from runners.settings import UpdateSettings
from runners.support.schedules import initial_value
from runners.updating.lora import WithoutAdapters, adapter_weights, base_parameters, merged
from runners.updating.micro_batches import passes
from runners.updating.ranks import sum_gradients, sum_over_ranks
from runners.updating.scorer import Batch, Scorer
from runners.updating.sharding import full_tensor, gather, own_shard


class Updater:
    """Updates the policy on one batch of `batch.build_train_batch`.

    Of several learners each has an Updater and a part of the rows; all are called together. The gradients of a step
    are summed over micro-batches and ranks, which is exact because the loss weights carry the global denominators.

    Args:
        scorer: The policy.
        optimizers: Over its parameters, each parameter in one of them.
        settings: How many steps, and how large a pass.
        objective: Which loss.
        reference: The frozen policy of the KL term, where there is one.
        stale: Whether samples of earlier policies are meant to come.

    Attributes:
        policy_version: Updates that the weights have had.
    """

    def __init__(
        self,
        scorer: Scorer,
        optimizers: Sequence[torch.optim.Optimizer],
        settings: UpdateSettings,
        objective: ObjectiveConfig,
        *,
        reference: Scorer | WithoutAdapters | None = None,
        stale: bool = False,
    ) -> None:
        self.scorer = scorer
        self.policy_version = 0
        self._optimizers = optimizers
        self._settings = settings
        self._objective = objective
        self._reference = reference
        self._stale = stale

    def update(self, batch: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Makes every optimizer step of a batch: every minibatch of every epoch, in order.

        Args:
            batch: This rank's rows of `build_train_batch`.

        Returns:
            Statistics, the same on every rank: the largest over the steps where the name ends in _max, else the mean.

        Raises:
            FloatingPointError: If loss or gradient is not a number; the weights are those before that step.
        """
        columns = self._prepared(self._on_device(batch))
        steps = [self._step(minibatch) for minibatch in self._minibatches(columns)]
        self.policy_version += 1
        return {
            name: float((np.max if name.endswith("_max") else np.mean)([step[name] for step in steps]))
            for name in steps[0]
        }

    @property
    def entropy_coeff(self) -> float:
        """The weight of the entropy bonus now; whoever follows a schedule sets it between updates."""
        return initial_value(self._objective.entropy_coeff)

    @entropy_coeff.setter
    def entropy_coeff(self, value: float) -> None:
        self._objective = replace(self._objective, entropy_coeff=value)

    def rewards_less_kl(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns [B] the rewards of a batch less the KL of each completion to the reference (`kl_in_reward`)."""
        assert self._reference is not None, "there is a reference only if kl_coeff > 0"
        columns = self._on_device(batch)
        rewards = kl_in_reward(
            columns["rewards"],
            columns["rollout_logprobs"],
            self._logprobs(columns, self._reference),
            columns["loss_mask"],
            kl_coeff=self._objective.kl_coeff,
            kind=self._objective.kl_estimator,
        )
        return rewards.cpu().numpy()

    def logprobs(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the policy's log-probs [B, T] (nats) of a batch's tokens, 0 outside the mask."""
        return self._logprobs(self._on_device(batch), self.scorer).cpu().numpy()

    def exported_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields name and full tensor of what the policy is to everyone else: engines, policy/, the sync check.

        With adapters each is what it is with them. Where the learner computes, and without a copy where the learner
        holds full tensors that no adapter changes. Of sharded ranks all must ask, and only rank 0 gets them.
        """
        return merged(self.scorer.model, gather(self.scorer.model.named_parameters()))

    def copied_weights(self) -> dict[str, torch.Tensor]:
        """Returns `exported_weights` in main memory, at one time; {} on sharded ranks but rank 0."""
        return {name: tensor.cpu() for name, tensor in self.exported_weights()}

    def exported_specs(self) -> tuple[TensorSpec, ...]:
        """Returns name, shape and type of `exported_weights`."""
        return tuple(TensorSpec.of(name, tensor) for name, tensor in base_parameters(self.scorer.model))

    def first_step_bytes(self) -> int:
        """Returns how many bytes the first optimizer step adds here and keeps: gradients, and AdamW's two moments."""
        held = [own_shard(parameter) for parameter in self._parameters()]
        return sum(3 * tensor.numel() * tensor.element_size() for tensor in held)

    def copied_adapters(self) -> dict[str, torch.Tensor]:
        """Returns the adapters under peft's names in main memory; {} on sharded ranks but rank 0, and without any."""
        weights = adapter_weights(gather(self.scorer.model.named_parameters()))
        return {name: tensor.to("cpu", copy=True) for name, tensor in weights}

    def _prepared(self, columns: Batch) -> Batch:
        """Returns the columns with what the losses need from before the update."""
        columns |= self._old_scores(columns)
        if self._reference is not None:
            columns["ref_logprobs"] = self._logprobs(columns, self._reference)
        return columns

    def _old_scores(self, columns: Batch) -> Batch:
        """Returns old_logprobs [B, T], the policy's before the update; 0 for the rows of the first optimizer step.

        There the policy has not moved: it is its own old policy, and the pass is saved.
        """
        if self._settings.num_epochs > 1:
            return {"old_logprobs": self._logprobs(columns, self.scorer)}
        later = columns["minibatch_0"] > 0
        logprobs = torch.zeros_like(columns["rollout_logprobs"])
        logprobs[later] = self._logprobs({name: column[later] for name, column in columns.items()}, self.scorer)
        return {"old_logprobs": logprobs}

    def _minibatches(self, columns: Batch) -> Iterator[Batch]:
        """Yields the rows of each optimizer step; those of the first have no old_logprobs, see `_old_scores`."""
        for epoch in range(self._settings.num_epochs):
            ids = columns[f"minibatch_{epoch}"]
            columns["loss_weights"] = columns[f"loss_weights_{epoch}"]
            # Every rank has rows of every minibatch of the first epoch; later ones deal the groups anew.
            for minibatch in range(int(columns["minibatch_0"].max()) + 1):
                rows = {name: column[ids == minibatch] for name, column in columns.items()}
                if epoch == minibatch == 0:
                    del rows["old_logprobs"]
                yield rows

    def _parameters(self) -> list[Any]:
        return [p for optimizer in self._optimizers for group in optimizer.param_groups for p in group["params"]]

    def _step(self, minibatch: Batch) -> dict[str, float]:
        """Makes one optimizer step; returns its statistics."""
        parameters = self._parameters()
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.zero_()
        stats = PolicyStats()
        for rows, micro in self._passes(minibatch):
            scores = self.scorer(
                micro,
                with_entropy_grad=self.entropy_coeff != 0.0,
                with_values=self.scorer.vf_head is not None,
            )
            if not len(rows):
                (0 * torch.stack([column.sum() for column in scores.values()]).sum()).backward()
                continue
            loss, seen = self._loss(scores, micro)
            loss.backward()
            stats += seen
        if not self._settings.fully_shard:  # sharded gradients are sums already
            sum_gradients([parameter.grad for parameter in parameters])
        stats = sum_over_ranks(stats)
        grad_norm = full_tensor(torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters]))
        self._check_finite(stats, float(grad_norm))
        for optimizer in self._optimizers:
            if self._settings.grad_clip is not None:
                own = [parameter for group in optimizer.param_groups for parameter in group["params"]]
                torch.nn.utils.clip_grad_norm_(own, self._settings.grad_clip)
            optimizer.step()
        return self._statistics(stats, float(grad_norm))

    def _loss(self, scores: dict[str, torch.Tensor], micro: Batch) -> tuple[torch.Tensor, PolicyStats]:
        """Returns the micro-batch's part of the minibatch's loss, a scalar, and the sums of what it saw."""
        inputs = ObjectiveInputs(
            logprobs=scores["logprobs"],
            entropies=scores["entropies"],
            old_logprobs=micro.get("old_logprobs"),
            rollout_logprobs=micro["rollout_logprobs"],
            ref_logprobs=micro.get("ref_logprobs"),
            advantages=micro["advantages"],
            loss_mask=micro["loss_mask"],
            loss_weights=micro["loss_weights"],
        )
        return policy_loss(inputs, self._objective)

    def _statistics(self, stats: PolicyStats, grad_norm: float) -> dict[str, float]:
        """Returns what one optimizer step saw."""
        warn_on_mismatch(
            stats.rollout_logprob_diff_mean,
            stats.rollout_logprob_diff_max,
            stats.rollout_logprob_diff_exp_mean,
            stale=self._stale,
        )
        found = {
            "loss": stats.loss,
            "grad_norm": grad_norm,
            "entropy": stats.entropy,
            "approx_kl": stats.approx_kl,
            "clip_frac": stats.clip_frac,
            "importance_weight_mean": stats.importance_weight,
            "rollout_logprob_diff_mean": stats.rollout_logprob_diff_mean,
            "rollout_logprob_diff_exp_mean": stats.rollout_logprob_diff_exp_mean,
            "ratio_max": stats.ratio_max,
            "rollout_logprob_diff_max": stats.rollout_logprob_diff_max,
        }
        return found if self._reference is None else {**found, "ref_kl": stats.kl}

    def _check_finite(self, stats: PolicyStats, grad_norm: float) -> None:
        if math.isfinite(stats.loss) and math.isfinite(grad_norm):
            return
        raise FloatingPointError(
            f"The update broke down: loss {stats.loss}, gradient norm {grad_norm} over {stats.num_tokens:.0f} "
            f"tokens, largest ratio {stats.ratio_max:.3g}. The weights were not changed. A lower lr (now "
            f"{self._settings.lr}) or grad_clip (now {self._settings.grad_clip}) often helps."
        )

    def _logprobs(self, columns: Batch, scorer: Scorer | WithoutAdapters) -> torch.Tensor:
        """Returns the logprobs [B, T] of the rows under a scorer."""
        return self._scored(columns, scorer, ("logprobs",))["logprobs"]

    @torch.no_grad()
    def _scored(self, columns: Batch, scorer: Scorer | WithoutAdapters, names: tuple[str, ...]) -> Batch:
        """Returns some of what a scorer returns, each [B, T], of the rows."""
        scores = {name: torch.zeros_like(columns["rollout_logprobs"]) for name in names}
        for rows, micro in self._passes(columns):
            scored = scorer(micro, with_entropy=False, with_values="values" in names)
            for name in names:
                if len(rows):
                    scores[name][rows, : scored[name].shape[1]] = scored[name]
        return scores

    def _passes(self, columns: Batch) -> Iterator[tuple[torch.Tensor, Batch]]:
        return passes(
            columns,
            max_tokens=self._settings.micro_batch_tokens,
            max_row_tokens=self.scorer.row_limit(columns["lengths"]),
            in_step=self._settings.fully_shard,
        )

    def _on_device(self, batch: Mapping[str, np.ndarray]) -> Batch:
        device = next(self.scorer.parameters()).device
        return {name: torch.tensor(column, device=device) for name, column in batch.items()}
