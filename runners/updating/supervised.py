"""Supervised fine-tuning's Updater: completions that are given, and their cross-entropy."""

from __future__ import annotations

import torch

from runners.objectives.log_loss import log_loss
from runners.objectives.stats import PolicyStats
from runners.updating.scorer import Batch
from runners.updating.updater import Updater


class SupervisedUpdater(Updater):
    """Makes one optimizer step on a batch; no engine, advantage or ratio has a part in it."""

    def _loss(self, scores: dict[str, torch.Tensor], micro: Batch) -> tuple[torch.Tensor, PolicyStats]:
        return log_loss(scores["logprobs"], scores["entropies"], micro["loss_mask"], micro["loss_weights"])

    def _statistics(self, stats: PolicyStats, grad_norm: float) -> dict[str, float]:
        return {"loss": stats.loss, "grad_norm": grad_norm, "entropy": stats.entropy}
