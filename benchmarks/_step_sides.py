"""The two sides of step.py: the same GRPO steps by this project and by trl's GRPOTrainer."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from transformers.utils.logging import disable_progress_bar
from trl import GRPOConfig as TRLConfig
from trl import GRPOTrainer

from agents.text import load_tokenizer
from agents.transformers_agent.loading import load_model
from gsm8k_env.grading import grade
from gsm8k_env.problems import load_problems
from gsm8k_env.prompts import render_prompt
from runners.run_folder.metrics import metrics_row
from runners.run_options import build_config, parse_args, run_settings

disable_progress_bar()

DATASET = "builtin:1-2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a step has to do.

    Attributes:
        model: A folder in Hugging Face's layout.
        prompts: N.
        group_size: G.
        minibatch_size: Sequences of one optimizer step; it divides N * G.
        max_tokens: Longest completion.
        lr: Learning rate; small, so that both sides keep generating alike.
        threads: Torch threads.
    """

    model: Path
    prompts: int
    group_size: int
    minibatch_size: int
    max_tokens: int
    lr: float
    threads: int

    @property
    def sequences(self) -> int:
        """N * G."""
        return self.prompts * self.group_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step took; the parts where the side tells them."""

    seconds: float
    cpu_s: float  # processor time of all threads, which a loaded machine changes less
    tokens: float  # mean length of its completions
    sample_s: float = 0.0
    update_s: float = 0.0


def _now() -> np.ndarray:
    """[2] wall-clock and processor time, in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def our_steps(work: Work, steps: int) -> list[Step]:
    """Returns what each of `steps` steps of ours took."""
    settings = {
        "num_prompts": work.prompts,
        "group_size": work.group_size,
        "minibatch_size": work.minibatch_size,
        "max_tokens": work.max_tokens,
        "lr": work.lr,
    }
    options = ["--preset", "tiny", "--model", str(work.model), "--dataset", DATASET, "--num-threads", str(work.threads)]
    options += [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    algo = build_config(run_settings(parse_args(options))).build_algo()
    rows = []
    for number in range(1, steps + 1):
        started = _now()
        result = algo.train()
        seconds, cpu_s = (_now() - started).tolist()
        row = metrics_row(result, number)
        rows.append(
            Step(
                seconds=seconds,
                cpu_s=cpu_s,
                tokens=row["completion_tokens_mean"],
                sample_s=row["sample_s"],
                update_s=row["update_s"],
            )
        )
    algo.stop()
    return rows


class _Clock(TrainerCallback):
    """Notes the time of a trainer's optimizer steps, generation included."""

    def __init__(self) -> None:
        self.times: list[np.ndarray] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts the clock."""
        self.started = _now()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stops it."""
        self.times.append(_now() - self.started)


class _Rewards:
    """Grades trl's completions as the environment grades ours, and notes their lengths."""

    __name__ = "grade"

    def __init__(self) -> None:
        self.tokens: list[float] = []  # mean length of each generation

    def __call__(
        self, completions: list[Any], ground_truth: list[str], completion_ids: list[list[int]], **kwargs: Any
    ) -> list[float | None]:
        self.tokens.append(sum(map(len, completion_ids)) / len(completion_ids))
        texts = [c if isinstance(c, str) else c[0]["content"] for c in completions]
        return [float(grade(text, truth).correct) for text, truth in zip(texts, ground_truth, strict=True)]


def trl_steps(work: Work, steps: int) -> list[Step]:
    """Returns what each of `steps` steps took; a step of ours is one generation and its optimizer steps."""
    clock, rewards = _Clock(), _Rewards()
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=load_model(work.model, dtype=torch.float32, device=torch.device("cpu")),
            reward_funcs=rewards,
            args=_trl_config(work, steps, folder),
            train_dataset=_trl_data(),
            processing_class=load_tokenizer(work.model),
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    per_step = work.sequences // work.minibatch_size
    times = np.array(clock.times).reshape(steps, per_step, 2).sum(axis=1).tolist()
    return [
        Step(seconds=seconds, cpu_s=cpu_s, tokens=tokens)
        for (seconds, cpu_s), tokens in zip(times, rewards.tokens, strict=True)
    ]


def _trl_data() -> Dataset:
    return Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": render_prompt(p.question)}], "ground_truth": p.ground_truth}
            for p in load_problems("train", DATASET)
        ]
    )


def _trl_config(work: Work, steps: int, folder: str) -> TRLConfig:
    optimizer_steps = work.sequences // work.minibatch_size
    return TRLConfig(
        output_dir=folder,
        per_device_train_batch_size=work.minibatch_size,
        gradient_accumulation_steps=1,
        steps_per_generation=optimizer_steps,
        generation_batch_size=None,
        num_generations=work.group_size,
        max_completion_length=work.max_tokens,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        learning_rate=work.lr,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        beta=0.0,
        max_steps=steps * optimizer_steps,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        seed=0,
    )
