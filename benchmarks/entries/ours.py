"""The algorithms of docs/algorithms.md by our own runner: `entries.ours:NAME` is the entry of each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from _task import Task

from runners.objectives.algorithms import ALGORITHMS
from runners.published import algorithm_settings
from runners.rllib.grpo import GRPOConfig

_COLUMNS = ("reward_mean", "completion_tokens_mean", "truncated_share", "zero_variance_share")
_HELD_EQUAL = ("num_prompts", "group_size", "minibatch_size", "max_prompt_tokens", "max_tokens", "num_epochs", "lr")


def __getattr__(name: str) -> Callable[[Task], Path]:
    if name not in ALGORITHMS:
        raise AttributeError(name)
    return partial(train, algorithm=name)


def train(task: Task, *, algorithm: str, num_env_runners: int = 0, **settings: Any) -> Path:
    """Trains by `algo.train()` until the budget is spent.

    Args:
        task: What to train.
        algorithm: A name of docs/algorithms.md.
        num_env_runners: 0 samples and updates in turn, in this process.
        **settings: More for `GRPOConfig.training`.

    Raises:
        ValueError: If the algorithm decides on what the comparison holds equal for all.
    """
    shared = {name: getattr(task, name) for name in _HELD_EQUAL}
    if clash := sorted(algorithm_settings(algorithm).keys() & shared.keys()):
        raise ValueError(f"Algorithm {algorithm!r} sets {clash}, which the protocol holds equal for all of them.")
    algo = (
        GRPOConfig()
        .environment(task.env, env_config=dict(task.env_options))
        .agents(policy_model=str(task.model), engine="transformers", num_threads=task.threads)
        .env_runners(num_env_runners=num_env_runners)
        .training(algorithm=algorithm, temperature=1.0, **shared, **settings)
        .debugging(seed=task.seed, log_level="ERROR")
        .build_algo()
    )
    log: dict[str, list[float]] = {name: [] for name in ("tokens", *_COLUMNS)}
    while task.tokens() < task.token_budget:
        try:
            rollouts = algo.train()["rollouts"]
        except FloatingPointError as error:
            task.report(diverged=str(error))
            algo.save_policy(task.policy)
            break
        log["tokens"].append(task.tokens())
        for name in _COLUMNS:
            log[name].append(round(float(rollouts[name]), 4))
        if folder := task.due():
            algo.save_policy(folder)
    task.report(settings=algorithm_settings(algorithm), steps=len(log["tokens"]), log=log)
    algo.stop()
    return task.policy
