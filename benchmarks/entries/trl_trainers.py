"""trl's GRPOTrainer and RLOOTrainer with trl's own defaults; the reward function steps the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
from _task import Task
from datasets import Dataset
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer


def grpo(task: Task) -> Path:
    """Trains by trl's GRPOTrainer."""
    return _train(task, GRPOTrainer, GRPOConfig)


def rloo(task: Task) -> Path:
    """Trains by trl's RLOOTrainer."""
    return _train(task, RLOOTrainer, RLOOConfig)


class _Budget(TrainerCallback):
    """Ends the training once the budget is spent, and saves the policy on the way."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.trainer: Any = None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % args.steps_per_generation:
            return  # a batch is used to its end
        if folder := self._task.due():
            self.trainer.save_model(folder)
        control.should_training_stop = self._task.tokens() >= self._task.token_budget


def _train(task: Task, trainer_class: Any, config_class: Any) -> Path:
    env = gym.make(task.env, **task.env_options)
    rows = []
    for index in range(env.get_wrapper_attr("num_problems")):
        observation, _ = env.reset(options={"index": index})
        rows.append({"prompt": [{"role": "user", "content": observation}], "index": index})

    def reward(completions: list[list[dict[str, str]]], index: list[int], **columns: Any) -> list[float]:
        rewards = []
        for messages, problem in zip(completions, index, strict=True):
            env.reset(options={"index": problem})
            rewards.append(float(env.step(messages[-1]["content"])[1]))
        return rewards

    config = config_class(
        output_dir=str(task.folder / "trl"),
        per_device_train_batch_size=task.minibatch_size,
        steps_per_generation=task.num_prompts * task.group_size // task.minibatch_size,
        num_generations=task.group_size,
        num_iterations=task.num_epochs,
        max_completion_length=task.max_tokens,
        learning_rate=task.lr,
        lr_scheduler_type="constant",
        max_steps=task.token_budget,  # more than it takes
        seed=task.seed,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        bf16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
    )
    budget = _Budget(task)
    trainer = trainer_class(
        model=str(task.model),
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(task.model),
        callbacks=[budget],
    )
    budget.trainer = trainer
    trainer.train()
    task.report(steps=trainer.state.global_step // config.steps_per_generation)
    return task.policy
