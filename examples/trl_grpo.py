"""trl's GRPOTrainer on GSM8K-v0: our environment poses the problems, our grader is the reward function.

    python examples/trl_grpo.py
    python examples/trl_grpo.py --model Qwen/Qwen2.5-0.5B-Instruct --dataset openai/gsm8k --steps 500 --lr 1e-6

The same rows and function serve trl's RLOOTrainer. trl's `environment_factory` is for environments that a model acts on
by tool calls within its completion; an episode of GSM8K is one message without any, and `reward_funcs` is its hook.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

import gymnasium as gym
from datasets import Dataset
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

import gsm8k_env  # noqa: F401  (registers GSM8K-v0)
from agents.models import resolve_model
from gsm8k_env.grading import grade


def prompts(dataset: str, split: str) -> Dataset:
    """Returns a row for each problem: the observation as trl's chat prompt, and the truth for `correct`."""
    env = gym.make("GSM8K-v0", dataset=dataset, split=split)
    rows = []
    for index in range(env.get_wrapper_attr("num_problems")):
        observation, info = env.reset(options={"index": index})
        rows.append({"prompt": [{"role": "user", "content": observation}], "ground_truth": info["ground_truth"]})
    return Dataset.from_list(rows)


def correct(completions: list[list[dict[str, str]]], ground_truth: list[str], **columns: Any) -> list[float | None]:
    """The reward function: 1 for a right answer, else 0; trl hands it the completions and the rows' other columns."""
    return [
        float(grade(messages[-1]["content"], truth).correct)
        for messages, truth in zip(completions, ground_truth, strict=True)
    ]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help='"tiny", a folder or a hub id')
    parser.add_argument("--dataset", default="builtin:1-2", help="as gym.make takes it")
    parser.add_argument("--steps", type=int, default=12, help="optimizer steps")
    parser.add_argument("--batch-size", type=int, default=128, help="completions of a step")
    parser.add_argument("--group-size", type=int, default=8, help="completions of each problem")
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--max-tokens", type=int, default=96)
    args = parser.parse_args()
    folder = resolve_model(args.model)
    with tempfile.TemporaryDirectory() as output_dir:
        config = GRPOConfig(
            output_dir=output_dir,
            max_steps=args.steps,
            per_device_train_batch_size=args.batch_size,
            num_generations=args.group_size,
            max_completion_length=args.max_tokens,
            learning_rate=args.lr,
            lr_scheduler_type="constant",
            logging_steps=1,
            report_to=[],
            save_strategy="no",
            bf16=False,
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
        )
        trainer = GRPOTrainer(
            model=str(folder),
            reward_funcs=correct,
            args=config,
            train_dataset=prompts(args.dataset, "train"),
            processing_class=AutoTokenizer.from_pretrained(folder),
        )
        trainer.train()
    rewards = [row["reward"] for row in trainer.state.log_history if "reward" in row]
    print("reward of each step:", " ".join(f"{reward:.2f}" for reward in rewards))


if __name__ == "__main__":
    main()
