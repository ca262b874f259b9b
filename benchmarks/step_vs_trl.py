"""Seconds of a GRPO step, ours and trl's GRPOTrainer, on the same work in one run.

    python benchmarks/step_vs_trl.py --steps 8

Same model (the bundled one), problems, group size, lengths, learning rate, float32 and threads; the same number of
optimizer steps. Both reward with `gsm8k_env.grading`. The two take turns, one block of steps each, because the speed of
a shared machine wanders; the ratio is of medians over all steps but each side's first.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from _results import write_results
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig as TRLConfig
from trl import GRPOTrainer

from agents.models import resolve_model
from agents.transformers_agent.loading import load_model
from gsm8k_env.grading import grade
from gsm8k_env.problems import load_problems
from gsm8k_env.prompts import render_prompt
from runners.grpo import build_config, parse_args, run_settings
from runners.run_folder.metrics import metrics_row

DATASET = "builtin:1-2"


class StepTimes(TrainerCallback):
    """Notes the seconds between the ends of a trainer's steps."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts the clock at the first micro-step of an optimizer step."""
        self.started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stops it."""
        self.seconds.append(time.perf_counter() - self.started)


def trl_rewards(completions: list[Any], ground_truth: list[str], **kwargs: Any) -> list[float | None]:
    """Grades trl's completions as the environment grades ours."""
    texts = [c if isinstance(c, str) else c[0]["content"] for c in completions]
    return [float(grade(text, truth).correct) for text, truth in zip(texts, ground_truth, strict=True)]


def trl_trainer(args: argparse.Namespace, folder: str) -> tuple[GRPOTrainer, StepTimes]:
    """Makes the trainer; a step of ours is `optimizer_steps` of its steps."""
    from agents.text import load_tokenizer

    problems = load_problems("train", DATASET)
    data = Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": render_prompt(p.question)}], "ground_truth": p.ground_truth}
            for p in problems
        ]
    )
    sequences = args.prompts * args.group_size
    model_folder = resolve_model("tiny")
    config = TRLConfig(
        output_dir=folder,
        per_device_train_batch_size=args.minibatch_size,
        gradient_accumulation_steps=1,
        steps_per_generation=sequences // args.minibatch_size,
        generation_batch_size=None,
        num_generations=args.group_size,
        max_completion_length=args.max_tokens,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        learning_rate=args.lr,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        beta=0.0,
        max_steps=args.steps * (sequences // args.minibatch_size),
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        seed=0,
    )
    times = StepTimes()
    trainer = GRPOTrainer(
        model=load_model(model_folder, dtype=torch.float32, device=torch.device("cpu")),
        reward_funcs=trl_rewards,
        args=config,
        train_dataset=data,
        processing_class=load_tokenizer(model_folder),
        callbacks=[times],
    )
    return trainer, times


def run_trl(args: argparse.Namespace) -> list[float]:
    """Returns the seconds of each step of `--steps`."""
    with tempfile.TemporaryDirectory() as folder:
        trainer, times = trl_trainer(args, folder)
        trainer.train()
    per_step = args.prompts * args.group_size // args.minibatch_size
    return [sum(times.seconds[i : i + per_step]) for i in range(0, len(times.seconds), per_step)]


def run_ours(args: argparse.Namespace) -> list[dict[str, float]]:
    """Returns the metrics of each step of `--steps`."""
    settings = run_settings(
        parse_args(
            ["--preset", "tiny", "--num-threads", str(args.threads), "--dataset", DATASET]
            + [
                part
                for name in ("max_tokens", "group_size", "minibatch_size", "lr")
                for part in ("--set", f"{name}={getattr(args, name)}")
            ]
            + ["--set", f"num_prompts={args.prompts}"]
        )
    )
    algo = build_config(settings).build_algo()
    rows = []
    for step in range(1, args.steps + 1):
        started = time.perf_counter()
        result = algo.train()
        rows.append(metrics_row(result, step) | {"step_s": time.perf_counter() - started})
    algo.stop()
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6, help="steps of each block")
    parser.add_argument("--blocks", type=int, default=2, help="blocks of each side, in turn")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--minibatch-size", type=int, default=128)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--lr", type=float, default=1e-6, help="small, so that both sides keep generating alike")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    ours: list[dict[str, float]] = []
    theirs: list[float] = []
    for block in range(args.blocks):
        ours += run_ours(args)[1:]
        theirs += run_trl(args)[1:]
        print(f"block {block + 1}: ours {_median(ours):.2f} s, trl {statistics.median(theirs):.2f} s", flush=True)
    parts = {f"{part}_s": statistics.median(row[f"{part}_s"] for row in ours) for part in ("sample", "update", "sync")}
    figures = {
        "work": vars(args),
        "ours_step_s": _median(ours),
        "trl_step_s": statistics.median(theirs),
        "ratio": _median(ours) / statistics.median(theirs),
        "ours_parts": parts,
        "completion_tokens_mean": statistics.mean(row["completion_tokens_mean"] for row in ours),
    }
    print("| | seconds a step |\n|---|---|")
    print(f"| ours | {figures['ours_step_s']:.2f} ({', '.join(f'{k} {v:.2f}' for k, v in parts.items())}) |")
    print(f"| trl GRPOTrainer | {figures['trl_step_s']:.2f} |\n| ratio | {figures['ratio']:.2f} |")
    write_results("step_vs_trl", figures)


def _median(rows: list[dict[str, float]]) -> float:
    return statistics.median(row["step_s"] for row in rows)


if __name__ == "__main__":
    main()
