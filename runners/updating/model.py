"""The scorer and its optimizers, as the settings say."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import torch

from agents.models import resolve_model
from agents.transformers_agent.loading import DTYPES, empty_model, load_model
from runners.settings import CriticSettings, LoraSettings, PolicySettings, UpdateSettings
from runners.support.schedules import Schedule, initial_value
from runners.updating.lora import WithoutAdapters, add_adapters, lora_config
from runners.updating.ranks import is_rank_0
from runners.updating.scorer import Scorer
from runners.updating.sharding import shard

EVERY_WEIGHT = LoraSettings()


def make_scorer(
    policy: PolicySettings,
    update: UpdateSettings,
    lora: LoraSettings = EVERY_WEIGHT,
    *,
    temperature: float,
    value_head: bool,
    seed: int = 0,
) -> Scorer:
    """Returns a scorer with the checkpoint's weights, and perhaps adapters drawn by a seed, in main memory.

    Sharded ranks but rank 0 get one without weights, for `sharding.shard` to fill.
    """
    make = empty_model if update.fully_shard and not is_rank_0() else load_model
    model = make(
        resolve_model(policy.policy_model), dtype=DTYPES[policy.dtype], trust_remote_code=policy.trust_remote_code
    )
    if lora.lora_rank is not None:
        add_adapters(model, lora_config(lora, policy.policy_model), seed)
    return Scorer(
        model,
        temperature=temperature,
        max_logits=update.max_logits,
        share_prompts=update.share_prompts,
        value_head=value_head,
        gradient_checkpointing=update.gradient_checkpointing,
    )


def make_optimizers(
    scorer: Scorer, update: UpdateSettings, critic: CriticSettings
) -> dict[str, tuple[torch.optim.Optimizer, float | Schedule]]:
    """Returns AdamW, and its learning rate, over what is trained of the model, and another over the value head's.

    The head starts from nothing where the model is pretrained, so it has a rate of its own.
    """
    adamw = _adamw(trained_parameters(scorer.model), update, initial_value(update.lr))
    optimizers: dict[str, tuple[torch.optim.Optimizer, float | Schedule]] = {"default_optimizer": (adamw, update.lr)}
    if scorer.vf_head is not None:
        optimizers["vf_head"] = (_adamw(scorer.vf_head.parameters(), update, critic.vf_lr), critic.vf_lr)
    return optimizers


def _adamw(parameters: Iterable[torch.nn.Parameter], update: UpdateSettings, lr: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        list(parameters),
        lr=lr,
        betas=tuple(update.adam_betas),  # type: ignore[arg-type]
        eps=update.adam_epsilon,
        weight_decay=update.weight_decay,
    )


def trained_parameters(module: torch.nn.Module) -> Iterator[torch.nn.Parameter]:
    """Yields the parameters that are not frozen."""
    return (parameter for parameter in module.parameters() if parameter.requires_grad)


def make_reference(
    scorer: Scorer, policy: PolicySettings, update: UpdateSettings, lora: LoraSettings = EVERY_WEIGHT
) -> Scorer | WithoutAdapters:
    """Returns the policy as it is before its first update, frozen: a copy, or the same without its adapters."""
    if lora.lora_rank is not None:
        return WithoutAdapters(scorer)
    if not update.fully_shard:
        return copy.deepcopy(scorer).requires_grad_(False)
    reference = make_scorer(policy, update, temperature=scorer.temperature, value_head=False)
    shard(reference, next(scorer.parameters()).device)
    return reference.requires_grad_(False)
