"""Settings of a `GRPOConfig` that must suit each other, or RLlib."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch

from agents.registry import find
from agents.values import fits
from runners.objectives.advantages import estimate_advantages
from runners.published import algorithm_settings
from runners.rllib.callbacks import observes_episodes
from runners.rllib.env_runner import TextEnvRunner
from runners.rllib.learner import GRPOLearner
from runners.rllib.private import DEPRECATED_VALUE
from runners.settings import TRAINING_NOUNS, AdvantageSettings, CriticSettings, LoraSettings
from runners.support.settings import default_of, fields_of


def check_together(config: Any) -> None:
    """Checks what no setting can be told alone.

    Raises:
        ValueError: For values that do not go together; the message says what is allowed.
    """
    for name in ("seed", "num_env_runners", "num_learners"):
        value = getattr(config, name)
        if not fits(value, int | None if name == "seed" else int) or (value is not None and value < 0):
            raise ValueError(f"{name}={value!r}, but it must be an int >= 0.")
    sequences = config.num_prompts * config.group_size
    minibatch_size = config.minibatch_size or sequences
    learners = max(1, config.num_learners)
    # The estimator itself says whether groups of this size will do.
    group_ids = np.repeat(np.arange(config.num_prompts), config.group_size)
    estimate_advantages(config.advantage, np.zeros(sequences), group_ids)
    _check_read(config)
    for name, ok, allowed in (
        ("learner_class", _derives(config.learner_class, GRPOLearner), "a subclass of GRPOLearner"),
        ("env_runner_cls", _derives(config.env_runner_cls, TextEnvRunner), "a subclass of TextEnvRunner"),
        ("env", isinstance(config.env, str), 'a registered Gymnasium id such as "gsm8k_env:GSM8K-v0"'),
        ("grad_clip_by", config.grad_clip_by == "global_norm", '"global_norm": gradients are clipped by no other'),
        *_overlapping(config),
        (
            "dynamic_sampling",
            not config.dynamic_sampling or config.group_size >= 2,
            "False with group_size=1: one reward has no spread",
        ),
        (
            "env_step_timeout_s",
            config.env_step_timeout_s is None or config.env_threads,
            "None without env_threads: a step made in place cannot be given up",
        ),
        ("overlong_buffer", config.overlong_buffer <= config.max_tokens, "between 0 and max_tokens"),
        (
            "minibatch_size",
            sequences % minibatch_size == 0 and minibatch_size % config.group_size == 0,
            f"a multiple of group_size that divides num_prompts * group_size = {sequences}",
        ),
        (
            "num_learners",
            minibatch_size % learners == 0,
            f"a divisor of the minibatch size, which is {minibatch_size}",
        ),
        (
            "dtype",
            config.dtype == "float32" or config.lora_rank is not None,
            '"float32" where every weight is trained, since others round small updates away (on a GPU the passes run '
            "in bfloat16 all the same); with adapters (lora_rank) the frozen model may have another",
        ),
        ("lora_rank", (config.lora_rank or 0) <= 4096, "at most 4096: no layer has use for more"),
        (
            "weight_transfer",
            config.weight_transfer != "adapter" or (config.lora_rank is not None and _takes_adapters(config.engine)),
            "'adapter' only with lora_rank, and an engine that serves adapters, such as 'vllm'",
        ),
        ("fully_shard", not config.fully_shard or learners > 1, "False with fewer than two learners"),
        (
            "sleep_during_update",
            not config.sleep_during_update or _engines_have_gpus(config),
            "False where the engines have no GPU: they could not free its memory (num_gpus_per_env_runner gives "
            "remote env runners a share of one, gpus_per_engine whole ones of the learners')",
        ),
        (
            "gpus_per_engine",
            config.gpus_per_engine is None or _engines_share_gpus(config),
            "None, or >= 1 with remote env runners that have no GPU of their own (num_gpus_per_env_runner=0)",
        ),
    ):
        if not ok:
            raise ValueError(f"{name}={getattr(config, name)!r}, but it must be {allowed}.")


def _check_read(config: Any) -> None:
    """Refuses settings that another one leaves without meaning.

    Raises:
        ValueError: For one that is neither left at its default nor what the published algorithm sets.
    """
    defaults = {name: default_of(field) for name, field in fields_of((LoraSettings, *TRAINING_NOUNS)).items()}
    if config.algorithm is not None:
        defaults |= algorithm_settings(config.algorithm)
    for names, read, reason in (
        (
            fields_of((CriticSettings,)),
            config.noun(AdvantageSettings).use_critic,
            'without a critic: only advantage="gae" has one',
        ),
        (("importance_level", "importance_over_cap"), config.importance_cap is not None, "without importance_cap"),
        (("kl_estimator", "kl_placement", "kl_unbiased"), config.kl_coeff > 0, "with kl_coeff=0"),
        (("overlong_penalty",), config.overlong_buffer > 0, "without overlong_buffer"),
        (("max_refills",), config.dynamic_sampling, "without dynamic_sampling"),
        (("lora_alpha", "lora_targets"), config.lora_rank is not None, "without lora_rank"),
    ):
        for name in () if read else names:
            if (value := getattr(config, name)) != defaults[name]:
                raise ValueError(f"{name}={value!r}, but it must be left at its default, {defaults[name]!r}, {reason}.")


def check_meaningful(config: Any) -> None:
    """Refuses settings that the algorithm does not read.

    Raises:
        ValueError: For one that is not left at its default.
    """
    defaults = vars(type(config)())
    for name in ("algorithm", *fields_of(TRAINING_NOUNS)):  # first what sets the others
        if name not in config.training_settings and getattr(config, name) != defaults[name]:
            raise ValueError(
                f"{name}={getattr(config, name)!r}, but it must be left out: it means nothing to "
                f"{type(config).__name__}, which reads {', '.join(sorted(config.training_settings))}."
            )


def check_sentinels(config: Any) -> None:
    """Refuses what RLlib would take for its DEPRECATED_VALUE, -1, and silently replace by the default.

    Raises:
        ValueError: For any setting of -1 whose default is another value.
    """
    defaults = vars(type(config)())
    for name, value in vars(config).items():
        if value == DEPRECATED_VALUE and defaults.get(name) != DEPRECATED_VALUE:
            raise ValueError(
                f"{name}={value!r}, but it must be another value than {DEPRECATED_VALUE}: RLlib would drop it for the "
                f"default, {defaults.get(name)!r}."
            )


def _overlapping(config: Any) -> list[tuple[str, bool, str]]:
    """Returns what sampling during the update needs: setting, whether it has it, and what is allowed."""
    if not config.max_staleness:
        return [
            ("in_flight", config.in_flight == "finish", '"finish" without max_staleness: nothing is under way then')
        ]
    corrected = config.importance_cap is not None or config.ratio_reference == "rollout"
    return [
        ("max_staleness", config.num_env_runners >= 1, "0 without remote env runners (num_env_runners >= 1)"),
        ("importance_cap", corrected, 'a number with max_staleness, or ratio_reference "rollout": samples are stale'),
        ("dynamic_sampling", not config.dynamic_sampling, "False with max_staleness"),
        ("sleep_during_update", not config.sleep_during_update, "False with max_staleness: engines sample meanwhile"),
        (
            "in_flight",
            config.in_flight == "finish" or config.weight_transfer != "adapter",
            '"finish" with weight_transfer="adapter": what is open goes on with the adapter that it began with',
        ),
        ("gpus_per_engine", config.gpus_per_engine is None, "None with max_staleness: engines need GPUs of their own"),
        (
            "callbacks_class",
            not observes_episodes(config),
            "without any of episodes and samples with max_staleness: they are called request by request",
        ),
    ]


def _takes_adapters(engine: str) -> bool:
    return "adapter_rank" in inspect.signature(find(engine)).parameters


def _derives(value: Any, base: type) -> bool:
    return isinstance(value, type) and issubclass(value, base)


def _engines_have_gpus(config: Any) -> bool:
    if config.num_env_runners or config.gpus_per_engine:
        return config.num_gpus_per_env_runner > 0 or _engines_share_gpus(config)
    return torch.cuda.is_available()


def _engines_share_gpus(config: Any) -> bool:
    return (config.gpus_per_engine or 0) >= 1 and config.num_env_runners >= 1 and config.num_gpus_per_env_runner == 0
