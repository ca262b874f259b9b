"""What is the same for every run of the comparison, and the tasks that algorithms are compared on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _counted_env import COUNTED
from _task import Task

from agents.models import resolve_model

MODEL = "tiny"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """Problems, and what is particular about learning them.

    Attributes:
        says: In a line, for the table.
        levels: Steps of the problems, as many of each number in training and in evaluation.
        env: The text environment.
        num_epochs: How often a batch is used: above 1 the samples are stale.
        env_options: Of the environment.
    """

    says: str
    levels: tuple[int, ...]
    env: str = "gsm8k_env:GSM8K-v0"
    num_epochs: int = 1
    env_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dataset(self) -> str:
        """The training problems."""
        return f"builtin:{self.levels[0]}-{self.levels[-1]}"


TASKS = {
    "mixed": TaskSpec(says="problems of one and of two steps", levels=(1, 2)),
    "one-step": TaskSpec(says="problems of one step", levels=(1,)),
    "two-step": TaskSpec(says="problems of two steps", levels=(2,)),
    "two-step-stale": TaskSpec(says="problems of two steps, four epochs on each batch", levels=(2,), num_epochs=4),
    "several-turns": TaskSpec(
        says="problems of two steps, three attempts at each", levels=(2,), env="gsm8k_env:GSM8KMultiTurn-v0"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What is the same for every run.

    Attributes:
        task: A name of TASKS.
        token_budget: Training stops after the step in which this many tokens have been generated in all, completions
            that dynamic sampling throws away included.
        num_prompts, group_size: Problems a step, and completions a problem.
        minibatch_size: Sequences of one optimizer step; several a step, or ratio and clip would have nothing to do.
        max_prompt_tokens, max_tokens: Limits of prompt and completion.
        eval_problems: Held-out problems of each level.
        eval_samples: Completions of each at temperature 1 for the final score.
        curve_points: Evaluations over the budget, one completion a problem, the last one the final score.
        threads: Torch threads of a run.
    """

    task: str = "mixed"
    token_budget: int = 80_000
    num_prompts: int = 16
    group_size: int = 8
    minibatch_size: int = 32
    max_prompt_tokens: int = 128
    max_tokens: int = 96
    eval_problems: int = 128
    eval_samples: int = 2
    curve_points: int = 5
    threads: int = 1

    def task_of(self, seed: int, lr: float, folder: Path) -> Task:
        """Returns what an entry gets: one run, in an empty folder."""
        spec, model = TASKS[self.task], resolve_model(MODEL)
        sizes = ("num_prompts", "group_size", "minibatch_size", "max_prompt_tokens", "max_tokens", "threads")
        return Task(
            env=COUNTED,
            env_options={
                **{"env": spec.env, "counts": str(folder / "counts"), "counted_by": str(model)},
                **{"limit": self.max_tokens, "dataset": spec.dataset, **spec.env_options},
            },
            model=model,
            folder=folder,
            seed=seed,
            lr=lr,
            token_budget=self.token_budget,
            curve=tuple(self.token_budget * point // self.curve_points for point in range(1, self.curve_points + 1)),
            num_epochs=spec.num_epochs,
            **{name: getattr(self, name) for name in sizes},
        )
