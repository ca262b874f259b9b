"""Whether the settings of a `GRPOConfig` can be."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
import torch
from ray._common.deprecation import DEPRECATED_VALUE

from runners.objectives.advantages import estimate_advantages
from runners.objectives.reductions import AGGREGATIONS
from runners.rllib.weight_paths import WEIGHT_TRANSFERS


def check_settings(config: Any) -> None:
    """Checks every setting of a `GRPOSettings` but those that its objective checks.

    Raises:
        ValueError: For a value out of its range; the message says what is allowed.
    """
    sequences = config.num_prompts * config.group_size
    minibatch_size = config.minibatch_size or sequences
    learners = max(1, config.num_learners)
    if min(config.num_prompts, config.group_size) >= 1:
        # The estimator itconfig says whether groups of this size will do.
        group_ids = np.repeat(np.arange(config.num_prompts), config.group_size)
        estimate_advantages(config.advantage, np.zeros(sequences), group_ids)
    for name, ok, allowed in (
        ("env", isinstance(config.env, str), 'a registered Gymnasium id such as "gsm8k_env:GSM8K-v0"'),
        ("num_prompts", config.num_prompts >= 1, ">= 1"),
        ("group_size", config.group_size >= 1, ">= 1"),
        (
            "dynamic_sampling",
            not config.dynamic_sampling or config.group_size >= 2,
            "False with group_size=1: one reward has no spread",
        ),
        ("max_refills", config.max_refills >= 0, ">= 0"),
        ("overlong_buffer", 0 <= config.overlong_buffer <= config.max_tokens, "between 0 and max_tokens"),
        ("overlong_penalty", config.overlong_penalty >= 0, ">= 0"),
        ("temperature", config.temperature > 0, "> 0: greedy completions of a group are all the same"),
        ("top_p", config.top_p == 1.0, "1.0: the learner scores the whole distribution"),
        ("max_tokens", config.max_tokens >= 1, ">= 1"),
        ("max_prompt_tokens", config.max_prompt_tokens >= 1, ">= 1"),
        (
            "max_episode_tokens",
            config.max_episode_tokens is None or config.max_episode_tokens >= 1,
            ">= 1, or None for the context's length",
        ),
        ("aggregation", config.aggregation in AGGREGATIONS, f"one of {', '.join(AGGREGATIONS)}"),
        ("lr", _is_number(config.lr) and 0 <= config.lr < math.inf, "a number >= 0, and finite"),
        (
            "grad_clip",
            config.grad_clip is None or (_is_number(config.grad_clip) and config.grad_clip > 0),
            "a number > 0, or None for no clipping",
        ),
        (
            "weight_decay",
            _is_number(config.weight_decay) and 0 <= config.weight_decay < math.inf,
            "a number >= 0, and finite",
        ),
        ("seed", config.seed is None or _is_count(config.seed), "a whole number >= 0, or None"),
        ("num_env_runners", _is_count(config.num_env_runners), "a whole number >= 0; 0 samples in the driver"),
        ("num_learners", _is_count(config.num_learners), "a whole number >= 0; 0 updates in the driver"),
        ("num_epochs", config.num_epochs >= 1, ">= 1"),
        (
            "minibatch_size",
            1 <= minibatch_size <= sequences
            and sequences % minibatch_size == 0
            and minibatch_size % config.group_size == 0,
            f"a multiple of group_size that divides num_prompts * group_size = {sequences}",
        ),
        (
            "num_learners",
            minibatch_size % learners == 0,
            f"a divisor of the minibatch size, which is {minibatch_size}",
        ),
        ("fully_shard", not config.fully_shard or learners > 1, "False with fewer than two learners"),
        ("gamma", 0 <= config.gamma <= 1, "in [0, 1]"),
        ("lambda_", 0 <= config.lambda_ <= 1, "in [0, 1]"),
        ("vf_loss_coeff", 0 <= config.vf_loss_coeff < math.inf, ">= 0 and finite"),
        ("vf_clip_param", config.vf_clip_param is None or config.vf_clip_param > 0, "> 0, or None for no bound"),
        ("vf_lr", 0 <= config.vf_lr < math.inf, ">= 0 and finite"),
        (
            "weight_transfer",
            config.weight_transfer in WEIGHT_TRANSFERS,
            f"one of {', '.join(WEIGHT_TRANSFERS)}",
        ),
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
        ("micro_batch_tokens", config.micro_batch_tokens >= 1, ">= 1"),
    ):
        if not ok:
            raise ValueError(f"GRPOConfig: {name}={getattr(config, name)!r}, but it must be {allowed}.")


def check_sentinels(config: Any) -> None:
    """Refuses what RLlib would take for its DEPRECATED_VALUE, -1, and silently replace by the default.

    Raises:
        ValueError: For any setting of -1 whose default is another value.
    """
    defaults = vars(type(config)())
    for name, value in vars(config).items():
        if value == DEPRECATED_VALUE and defaults.get(name) != DEPRECATED_VALUE:
            raise ValueError(
                f"GRPOConfig: {name}={value!r}, but it must be another value than {DEPRECATED_VALUE}: RLlib would "
                f"drop it for the default, {defaults.get(name)!r}."
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= 0


def _engines_have_gpus(config: Any) -> bool:
    if config.num_env_runners or config.gpus_per_engine:
        return config.num_gpus_per_env_runner > 0 or _engines_share_gpus(config)
    return torch.cuda.is_available()


def _engines_share_gpus(config: Any) -> bool:
    # RLlib checks a copy for evaluation too, which counts env runners for evaluation alone: there are none.
    remote = config.num_env_runners >= 1 or config.in_evaluation
    return (config.gpus_per_engine or 0) >= 1 and remote and config.num_gpus_per_env_runner == 0
