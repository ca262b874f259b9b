"""The GRPO learner: old and reference passes, micro-batches, one gradient for any number of learners."""

from __future__ import annotations

import copy
import functools
import logging
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import DEFAULT_OPTIMIZER
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from runners.objectives.batching import micro_batches, trim
from runners.objectives.importance import logprob_difference, warn_on_mismatch
from runners.objectives.kl import kl_in_reward
from runners.objectives.objective import ObjectiveInputs, policy_loss
from runners.objectives.packing import shared_rows
from runners.objectives.stats import PolicyStats
from runners.rllib.rl_module import TextPolicyModule
from runners.rllib.scorer import Batch, Scorer
from runners.rllib.sharding import (
    gather,
    part_optimizer_state,
    shard,
    whole,
    whole_optimizer_state,
)
from runners.rllib.weight_sender import WeightSender

S = TypeVar("S")


class GRPOLearner(TorchLearner):
    """Updates the policy on one batch of `build_train_batch`.

    RLlib's loop stays in charge: `update` asks `_create_iterator_if_necessary` for the optimizer steps and gives each
    to `_update`. The gradients of a step are summed over micro-batches here and over learners by one all-reduce, which
    is exact because the loss weights carry the global denominators; modules are therefore not wrapped in DDP.

    With `fully_shard` each learner holds a part of every parameter, gradient and optimizer state; see `sharding`. All
    that runs the model or returns weights must then be asked of all learners at once.
    """

    def build(self) -> None:
        """Builds module and optimizer, and freezes the reference policy where the KL term needs one."""
        if self.config.num_threads:
            torch.set_num_threads(self.config.num_threads)
        # RLlib sets it in the driver only; Ray's helper warns here of a deprecated class that RLlib itself makes.
        logging.getLogger("ray").setLevel(self.config.log_level)
        super().build()
        self._objective = self.config.objective()
        self._stats = PolicyStats()
        self.weight_sender = WeightSender(self._policy.model)
        self._reference: Scorer | None = None
        if self.config.kl_coeff:
            self._reference = self._make_reference()

    def _map_module_to_device(self, module: Any) -> None:
        """Puts the policy, or this learner's part of it, where this learner computes."""
        if self.config.fully_shard:
            shard(module[DEFAULT_MODULE_ID].scorer, self._device)
        else:
            super()._map_module_to_device(module)

    def _make_reference(self) -> Scorer:
        """Returns the policy as it is now, frozen."""
        if not self.config.fully_shard:
            return copy.deepcopy(self._policy.scorer).requires_grad_(False)
        reference = self._policy.make_scorer(value_head=False)
        shard(reference, self._device)
        return reference.requires_grad_(False)

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Registers AdamW over every parameter of the language model."""
        self._register_adamw(DEFAULT_OPTIMIZER, module_id, config, self.module[module_id].model, config.lr)

    def _register_adamw(self, name: str, module_id: str, config: Any, module: torch.nn.Module, lr: float) -> None:
        parameters = list(module.parameters())
        optimizer = torch.optim.AdamW(
            parameters, lr=lr, betas=config.adam_betas, eps=config.adam_epsilon, weight_decay=config.weight_decay
        )
        self.register_optimizer(
            module_id=module_id, optimizer_name=name, optimizer=optimizer, params=parameters, lr_or_lr_schedule=lr
        )

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: Batch, fwd_out: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Returns the micro-batch's part of the minibatch's loss, a scalar."""
        inputs = ObjectiveInputs(
            logprobs=fwd_out["logprobs"],
            entropies=fwd_out["entropies"],
            old_logprobs=batch.get("old_logprobs"),
            rollout_logprobs=batch["rollout_logprobs"],
            ref_logprobs=batch.get("ref_logprobs"),
            advantages=batch["advantages"],
            loss_mask=batch["loss_mask"],
            loss_weights=batch["loss_weights"],
        )
        loss, stats = policy_loss(inputs, self._objective)
        self._stats += stats
        return loss

    def rewards_less_kl(self, batch: MultiAgentBatch) -> np.ndarray:
        """Returns [B] the rewards of a batch less the KL of each completion to the reference (`kl_in_reward`)."""
        assert self._reference is not None, "a learner keeps a reference only if kl_coeff > 0"
        columns = self._convert_batch_type(batch).policy_batches[DEFAULT_MODULE_ID]
        rewards = kl_in_reward(
            columns["rewards"],
            columns["rollout_logprobs"],
            self._logprobs(columns, self._reference),
            columns["loss_mask"],
            kl_coeff=self.config.kl_coeff,
            kind=self.config.kl_estimator,
        )
        return rewards.cpu().numpy()

    def rollout_difference(self, batch: MultiAgentBatch) -> tuple[float, float]:
        """Returns mean and max |rollout - policy logprob| (nats) over the completions' tokens of a batch."""
        columns = self._convert_batch_type(batch).policy_batches[DEFAULT_MODULE_ID]
        logprobs, mask = self._logprobs(columns, self._policy.scorer), columns["loss_mask"]
        total, largest = logprob_difference(logprobs, columns["rollout_logprobs"], mask)
        return float(total / mask.sum()), float(largest)

    def exported_weights(self) -> dict[str, torch.Tensor]:
        """Returns Hugging Face parameter name -> full tensor in main memory; tied parameters stand under one name.

        Sharded learners must all be asked; rank 0 has the answer, the others {}.
        """
        return dict(gather(self._policy.model.named_parameters()))

    @property
    def weights_seq_no(self) -> int:
        """How many updates the weights have had."""
        return self._weights_seq_no

    @property
    def _policy(self) -> TextPolicyModule:
        return self.module[DEFAULT_MODULE_ID]

    def _make_modules_ddp_if_necessary(self) -> None:
        """Leaves the modules bare; see the class docstring."""

    def _create_iterator_if_necessary(self, *, training_data: Any, **kwargs: Any) -> Iterator[MultiAgentBatch]:
        """Yields the optimizer steps of a batch: every minibatch of every epoch, in order."""
        batch = self._make_batch_if_necessary(training_data=training_data)
        columns: Batch = dict(batch.policy_batches[DEFAULT_MODULE_ID])
        self._prepare(columns)
        num_epochs, num_minibatches = self.config.num_epochs, self.config.num_minibatches()
        for epoch in range(num_epochs):
            columns["loss_weights"] = columns[f"loss_weights_{epoch}"]
            for minibatch in range(num_minibatches):
                rows = columns[f"minibatch_{epoch}"] == minibatch
                step = {name: column[rows] for name, column in columns.items()}
                if epoch == minibatch == 0:
                    del step["old_logprobs"]
                yield MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(step)}, env_steps=int(rows.sum()))

    def _prepare(self, columns: Batch) -> None:
        """Adds what the losses need from before the update: old logprobs, and the reference's where there is one."""
        columns |= self._old_scores(columns)
        if self._reference is not None:
            columns["ref_logprobs"] = self._logprobs(columns, self._reference)

    def _old_scores(self, columns: Batch) -> Batch:
        """Returns old_logprobs [B, T], the policy's before the update; 0 for the rows of the first optimizer step.

        There the policy has not moved: it is its own old policy, and the pass is saved.
        """
        if self.config.num_epochs > 1:
            return {"old_logprobs": self._logprobs(columns, self._policy.scorer)}
        later = columns["minibatch_0"] > 0
        logprobs = torch.zeros_like(columns["rollout_logprobs"])
        logprobs[later] = self._logprobs({name: column[later] for name, column in columns.items()}, self._policy.scorer)
        return {"old_logprobs": logprobs}

    def _update(self, batch: dict[str, Any], **kwargs: Any) -> tuple[dict, dict[str, torch.Tensor], dict]:
        """Makes one optimizer step."""
        columns: Batch = dict(batch[DEFAULT_MODULE_ID])
        self._stats = PolicyStats()
        for parameter in self._params.values():
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.zero_()
        for rows, micro in self._micro_batches(columns):
            fwd_out = self._policy.forward_train(micro)
            if not len(rows):
                (0 * sum(column.sum() for column in fwd_out.values())).backward()
                continue
            losses = self.compute_losses(fwd_out={DEFAULT_MODULE_ID: fwd_out}, batch={DEFAULT_MODULE_ID: micro})
            losses[DEFAULT_MODULE_ID].backward()
        gradients = {reference: parameter.grad for reference, parameter in self._params.items()}
        self._sum_gradients(list(gradients.values()))
        stats = self._sum_over_learners(self._stats)
        grad_norm = whole(torch.nn.utils.get_total_norm(gradients.values()))
        self._check_finite(stats, grad_norm)
        self._log(stats, float(grad_norm))
        self.apply_gradients(self.postprocess_gradients(gradients))
        return {}, {DEFAULT_MODULE_ID: torch.tensor(stats.loss)}, {}

    def _micro_batches(self, columns: Batch) -> Iterator[tuple[torch.Tensor, Batch]]:
        """Yields row indices and their columns.

        A sharded learner with fewer micro-batches than another keeps step by `_no_rows`.
        """
        shared = self._policy.scorer.max_row_tokens if self.config.share_prompts else None
        batches = _micro_batches(columns, self.config.micro_batch_tokens, shared)
        if not self.config.fully_shard:
            yield from batches
            return
        own = list(batches)
        missing = self._over_learners(max, len(own)) - len(own)
        yield from own
        for _ in range(missing):
            yield _no_rows(self._device)

    def _logprobs(self, columns: Batch, scorer: Scorer) -> torch.Tensor:
        """Returns the logprobs [B, T] of the rows under a scorer."""
        return self._scored(columns, scorer, ("logprobs",))["logprobs"]

    @torch.no_grad()
    def _scored(self, columns: Batch, scorer: Scorer, names: tuple[str, ...]) -> Batch:
        """Returns some of what a scorer returns, each [B, T], of the rows."""
        scores = {name: torch.zeros_like(columns["rollout_logprobs"]) for name in names}
        for rows, micro in self._micro_batches(columns):
            scored = scorer(micro, with_entropy=False, with_values="values" in names)
            for name in names:
                if len(rows):
                    scores[name][rows, : scored[name].shape[1]] = scored[name]
        return scores

    def _sum_gradients(self, gradients: list[torch.Tensor]) -> None:
        """Sums the gradients over the learners, in place; sharded ones are sums already."""
        if self.config.num_learners <= 1 or self.config.fully_shard:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def _sum_over_learners(self, part: S) -> S:
        """Returns the sum of every learner's part, the same on all of them."""
        return self._over_learners(operator.add, part)

    def _over_learners(self, combine: Callable[[S, S], S], part: S) -> S:
        """Returns every learner's part combined, the same on all of them."""
        if self.config.num_learners <= 1:
            return part
        parts: list[Any] = [None] * self.config.num_learners
        torch.distributed.all_gather_object(parts, part)
        return functools.reduce(combine, parts)

    def _get_optimizer_state(self) -> dict[str, Any]:
        """Returns RLlib's state of the optimizers, whole."""
        if not self.config.fully_shard:
            return super()._get_optimizer_state()
        return {
            name: {
                "module_id": self._optimizer_name_to_module[name],
                "state": whole_optimizer_state(optimizer.state_dict()),
            }
            for name, optimizer in self._named_optimizers.items()
        }

    def _set_optimizer_state(self, state: dict[str, Any]) -> None:
        """Loads what `_get_optimizer_state` returned; a sharded learner takes its part."""
        if self.config.fully_shard:
            for name, part in state.items():
                part_optimizer_state(part["state"], self._named_optimizers[name])
        super()._set_optimizer_state(state)

    def _check_finite(self, stats: PolicyStats, grad_norm: torch.Tensor) -> None:
        # RLlib would turn non-finite gradients to zero and go on.
        if math.isfinite(stats.loss) and torch.isfinite(grad_norm):
            return
        raise FloatingPointError(
            f"The update broke down: loss {stats.loss}, gradient norm {float(grad_norm)} over {stats.num_tokens:.0f} "
            f"tokens, largest ratio {stats.ratio_max:.3g}. The weights were not changed. A lower lr (now "
            f"{self.config.lr}) or grad_clip (now {self.config.grad_clip}) often helps."
        )

    def _log(self, stats: PolicyStats, grad_norm: float) -> None:
        warn_on_mismatch(stats.logprob_diff_mean, stats.logprob_diff_max)
        means = {
            "loss": stats.loss,
            "grad_norm": grad_norm,
            "entropy": stats.entropy,
            "approx_kl": stats.approx_kl,
            "clip_frac": stats.clip_frac,
            "importance_weight_mean": stats.importance_weight,
            "logprob_diff_mean": stats.logprob_diff_mean,
        }
        if self._reference is not None:
            means["ref_kl"] = stats.kl
        for name, value in means.items():
            self.metrics.log_value((DEFAULT_MODULE_ID, name), value, reduce="mean")
        for name, value in (("ratio_max", stats.ratio_max), ("logprob_diff_max", stats.logprob_diff_max)):
            self.metrics.log_value((DEFAULT_MODULE_ID, name), value, reduce="max")


def _no_rows(device: torch.device) -> tuple[torch.Tensor, Batch]:
    """Returns no row indices, and a micro-batch of two tokens for a pass that counts for nothing."""
    micro = {
        "token_ids": torch.zeros(1, 2, dtype=torch.int64),
        "loss_mask": torch.tensor([[False, True]]),
        "lengths": torch.tensor([2]),
    }
    return torch.tensor([], dtype=torch.int64), {name: column.to(device) for name, column in micro.items()}


def _micro_batches(columns: Batch, max_tokens: int, max_row_tokens: int | None) -> Iterator[tuple[torch.Tensor, Batch]]:
    """Yields row indices and their columns, rows of like length together, without the padding none of them needs.

    The completions that `shared_rows` puts in a row stay together; with max_row_tokens None each has its own.
    """
    lengths = columns["lengths"]
    if max_row_tokens is None:
        units, tokens = np.arange(len(lengths)), lengths.cpu().numpy()
    else:
        ids, mask, tokens = (columns[name].cpu().numpy() for name in ("token_ids", "loss_mask", "lengths"))
        units, tokens = shared_rows(ids, mask, tokens, max_row_tokens)
    for chosen in micro_batches(tokens, max_tokens):
        rows = torch.as_tensor(np.flatnonzero(np.isin(units, chosen)), device=lengths.device)
        wide = [name for name, column in columns.items() if column.ndim == 2]
        trimmed = trim(lengths[rows], *(columns[name][rows] for name in wide))
        yield rows, {name: column[rows] for name, column in columns.items()} | dict(zip(wide, trimmed, strict=True))
