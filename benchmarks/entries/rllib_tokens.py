"""RLlib's own PPO, APPO and IMPALA, which know nothing of language models: token by token, the model as RLModule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from _task import Task
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from runners.token_module.module import CausalLMModule

_ENVS = 32
_CRITIC = {"gamma": 1.0, "vf_loss_coeff": 0.1, "entropy_coeff": 0.0, "grad_clip": 1.0}


def ppo(task: Task) -> Path:
    """Trains by PPO: a batch of as many tokens as a step of the others has at most, in four minibatches."""
    batch = task.num_prompts * task.group_size * task.max_tokens // 3  # a completion is a third of its limit
    minibatch = batch * task.minibatch_size // (task.num_prompts * task.group_size)
    sizes = {"train_batch_size_per_learner": batch, "minibatch_size": minibatch, "num_epochs": task.num_epochs}
    config = PPOConfig().training(**sizes, lambda_=1.0, use_kl_loss=False, shuffle_batch_per_epoch=False)
    return _train(task, config, num_env_runners=0)


def appo(task: Task) -> Path:
    """Trains by APPO; its env runner samples beside the update."""
    return _train(task, APPOConfig().training(train_batch_size_per_learner=1024), num_env_runners=1)


def impala(task: Task) -> Path:
    """Trains by IMPALA; its env runner samples beside the update."""
    return _train(task, IMPALAConfig().training(train_batch_size_per_learner=1024), num_env_runners=1)


def _train(task: Task, config: Any, *, num_env_runners: int) -> Path:
    env, options = task.token_env(observation="dict", max_prompt_tokens=2 * task.max_prompt_tokens)
    fragment = {"rollout_fragment_length": 32} if num_env_runners else {}
    algo = (
        config.environment(env, env_config=options)
        .env_runners(num_env_runners=num_env_runners, num_envs_per_env_runner=_ENVS, **fragment)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=CausalLMModule, model_config={"model": str(task.model)}))
        .training(lr=task.lr, **_CRITIC)
        .reporting(min_time_s_per_iteration=1 if num_env_runners else None)
        .debugging(seed=task.seed, log_level="ERROR")
        .build_algo()
    )
    steps = 0
    while task.tokens() < task.token_budget:
        algo.train()
        steps += 1
        if folder := task.due():
            algo.learner_group.foreach_learner(lambda learner: _write(learner, folder))
    task.report(steps=steps)
    algo.stop()
    return task.policy


def _write(learner: Any, folder: Path | None) -> None:
    learner.module["default_policy"].write_policy(folder)
