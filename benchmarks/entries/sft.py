"""Supervised fine-tuning on the problems' solutions: the reference line that uses more labels than rewards do."""

from __future__ import annotations

from pathlib import Path

from _task import Task

from runners.rllib.sft import SFTConfig


def train(task: Task) -> Path:
    """Trains until as many tokens of solutions are learned as others generate."""
    algo = (
        SFTConfig()
        .environment(task.env, env_config=dict(task.env_options))
        .agents(policy_model=str(task.model), engine="transformers", num_threads=task.threads)
        .training(
            num_prompts=task.minibatch_size,
            max_prompt_tokens=task.max_prompt_tokens,
            max_tokens=task.max_tokens,
            lr=task.lr,
        )
        .debugging(seed=task.seed, log_level="ERROR")
        .build_algo()
    )
    tokens = steps = 0
    while tokens < task.token_budget:
        tokens += int(algo.train()["rollouts"]["num_completion_tokens"])
        steps += 1
        task.report(tokens=tokens, steps=steps, labels="solutions")
        if folder := task.due(tokens):
            algo.save_policy(folder)
    algo.stop()
    return task.policy
