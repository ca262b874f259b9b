"""Every setting of a run that no algorithm reads: how long it is, what it keeps, its processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agents.values import Seconds, at_least_1, positive
from runners.run_folder.conditions import is_report_to, is_steps, parse_condition
from runners.support.settings import Settings, not_negative, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings(Settings):
    """The run: a preset's `run`, and options of the command line (`--max-minutes`)."""

    steps: int = setting(100, "Training steps.", ">= 0", not_negative)
    eval_interval: int = setting(
        10, "Steps between evaluations; 0 evaluates at the start and the end.", ">= 0", not_negative
    )
    eval_problems: int = setting(256, "Problems of an evaluation.", ">= 1", at_least_1)
    eval_sampled_problems: int | None = setting(
        None,
        "Of these so many, spread evenly, are sampled too, as in training; None is all, and 0 leaves it out.",
        ">= 0",
        not_negative,
    )
    checkpoint_interval: int = setting(
        10, "Steps between checkpoints; the last step makes one too.", ">= 1", at_least_1
    )
    keep_checkpoints: int = setting(
        2, "How many checkpoints are kept, the newest; each has the policy's folder with it.", ">= 1", at_least_1
    )
    max_minutes: float | None = setting(
        None, "Minutes after which the step in progress is the last; a resumed run has as many again.", "> 0", positive
    )
    stop: str | None = setting(
        None,
        'What makes a step the last, such as "eval_accuracy>0.9".',
        "of the form METRIC>NUMBER (also <, >=, <=) with a metric of docs/metrics.md",
        lambda text: parse_condition(text) is not None,
    )
    dump_steps: str | None = setting(
        None,
        "Steps that are kept whole for `runners/replay.py`, each with a checkpoint; of all the newest ten stay.",
        'such as "3,7", or "all"',
        is_steps,
    )
    report_to: str = setting(
        "tensorboard",
        'Where the metrics go too: "tensorboard", "wandb", "mlflow", module:Class of your own, several with commas '
        'between them; or "none".',
        'such as "tensorboard,wandb"',
        is_report_to,
    )
    interrupt_s: Seconds = setting(
        600.0,
        "Seconds that the step in progress and its checkpoint have after SIGINT or SIGTERM; then the run stops where "
        "it is, and goes on from the checkpoint before.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSettings(Settings):
    """The processes, and what Ray reserves for them: a preset's `resources`, `env_runners(...)`, `learners(...)`."""

    num_env_runners: int = setting(0, "Processes that sample; 0 samples in this one.", ">= 0", not_negative)
    num_learners: int = setting(0, "Processes that update; 0 updates in this one.", ">= 0", not_negative)
    num_gpus_per_env_runner: float = setting(0, "GPUs of each.", ">= 0", not_negative)
    num_gpus_per_learner: float = setting(0, "GPUs of each.", ">= 0", not_negative)
    custom_resources_per_env_runner: dict[str, Any] = setting({}, "Ray's resources of your own that each takes.")
    custom_resources_per_learner: dict[str, Any] = setting({}, "The same for a learner.")
