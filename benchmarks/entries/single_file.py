"""examples/grpo_single_file.py, step by step until the budget is spent."""

from __future__ import annotations

import runpy
from pathlib import Path

import gymnasium as gym
from _task import Task

_EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "grpo_single_file.py"


def train(task: Task) -> Path:
    """Trains with the example's own loop, from its command line's options."""
    example = runpy.run_path(str(_EXAMPLE))
    sizes = ("num_prompts", "group_size", "minibatch_size", "lr", "max_tokens", "seed")
    options = [f"--{name.replace('_', '-')}={getattr(task, name)}" for name in sizes]
    args = example["parse_args"]([f"--model={task.model}", *options])
    args.steps = task.token_budget  # more than it takes
    model, tokenizer = example["load_policy"](str(task.model))
    envs = gym.make_vec(task.env, num_envs=task.num_prompts * task.group_size, **task.env_options)
    for metrics in example["train"](args, model, tokenizer, envs):
        if folder := task.due():
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        if task.tokens() >= task.token_budget:
            task.report(steps=metrics["step"])
            break
    return task.policy
