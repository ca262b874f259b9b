"""Seconds of a GRPO step: ours and trl's GRPOTrainer on the same work, and how ours grow with group size and length.

    python benchmarks/step.py

Same model, problems, group size, lengths, learning rate, float32 and threads; the same number of optimizer steps. Both
reward with `gsm8k_env.grading`. "Full" lengths: a copy of the bundled model whose end token it hardly ever writes, so
completions have max_tokens tokens on both sides (the table has what came of it). "Natural" lengths: the bundled model, whose completions end by
themselves after some 23 tokens. The two sides take turns, one block of steps each, because the speed of a shared
machine wanders; a ratio is of medians over all steps but each block's first. Everything runs in one process, so its
processor time is beside the wall-clock's: the better measure where others load the machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from _endless_model import endless_model
from _results import write_results
from _step_sides import Step, Work, our_steps, trl_steps

from agents.models import resolve_model


def against_trl(works: Sequence[tuple[str, Work]], *, steps: int, blocks: int) -> Iterator[dict[str, Any]]:
    """Yields a row for each kind of work: both sides' seconds and tokens, and the ratio."""
    for lengths, work in works:
        ours: list[Step] = []
        theirs: list[Step] = []
        for _ in range(blocks):
            ours += our_steps(work, steps)[1:]
            theirs += trl_steps(work, steps)[1:]
        row = {
            "lengths": lengths,
            "prompts": work.prompts,
            "group_size": work.group_size,
            "max_tokens": work.max_tokens,
            "ours_step_s": _median(ours, "seconds"),
            "trl_step_s": _median(theirs, "seconds"),
            "ratio": _median(ours, "seconds") / _median(theirs, "seconds"),
            "ours_step_cpu_s": _median(ours, "cpu_s"),
            "trl_step_cpu_s": _median(theirs, "cpu_s"),
            "ratio_cpu": _median(ours, "cpu_s") / _median(theirs, "cpu_s"),
            "ours_sample_s": _median(ours, "sample_s"),
            "ours_update_s": _median(ours, "update_s"),
            "ours_tokens_mean": statistics.mean(step.tokens for step in ours),
            "trl_tokens_mean": statistics.mean(step.tokens for step in theirs),
        }
        print(
            f"| {work.prompts} x {work.group_size} | {work.max_tokens}, {lengths} | {row['ours_tokens_mean']:.1f} / "
            f"{row['trl_tokens_mean']:.1f} | {row['ours_step_s']:.2f} | {row['trl_step_s']:.2f} | {row['ratio']:.2f} | "
            f"{row['ours_step_cpu_s']:.2f} | {row['trl_step_cpu_s']:.2f} | {row['ratio_cpu']:.2f} |",
            flush=True,
        )
        yield row


def growth(works: Sequence[Work], *, steps: int) -> Iterator[dict[str, Any]]:
    """Yields a row for each kind of work: our seconds, and processor time per thousand completion tokens."""
    for work in works:
        ours = our_steps(work, steps)[1:]
        thousands = work.sequences * statistics.mean(step.tokens for step in ours) / 1000
        row = {
            "prompts": work.prompts,
            "group_size": work.group_size,
            "max_tokens": work.max_tokens,
            "tokens_mean": statistics.mean(step.tokens for step in ours),
            "step_s": _median(ours, "seconds"),
            "step_cpu_s": _median(ours, "cpu_s"),
            "sample_s": _median(ours, "sample_s"),
            "update_s": _median(ours, "update_s"),
            "step_cpu_s_per_1000_tokens": _median(ours, "cpu_s") / thousands,
        }
        print(
            f"| {work.group_size} | {work.max_tokens} | {row['step_s']:.2f} | {row['sample_s']:.2f} | "
            f"{row['update_s']:.2f} | {row['step_cpu_s']:.2f} | {row['step_cpu_s_per_1000_tokens']:.3f} |",
            flush=True,
        )
        yield row


def _median(steps: Sequence[Step], part: str) -> float:
    return statistics.median(getattr(step, part) for step in steps)


def main() -> None:
    """Prints both tables and writes them to results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3, help="steps of each block, of which the first is left out")
    parser.add_argument("--blocks", type=int, default=2, help="blocks of each side, in turn")
    parser.add_argument("--prompts", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--minibatch-size", type=int, default=128)
    parser.add_argument("--max-tokens", type=int, nargs="+", default=[48, 96])
    parser.add_argument("--growth-prompts", type=int, default=8)
    parser.add_argument("--growth-group-sizes", type=int, nargs="*", default=[4, 8, 16])
    parser.add_argument("--growth-max-tokens", type=int, nargs="*", default=[48, 96, 192])
    parser.add_argument("--lr", type=float, default=1e-6, help="small, so that both sides keep generating alike")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if args.steps < 2:
        parser.error(f"--steps {args.steps}: at least 2, since the first of a block is left out.")
    torch.set_num_threads(args.threads)

    with tempfile.TemporaryDirectory() as folder:
        endless = endless_model(Path(folder) / "endless")

        def work(model: Path, prompts: int, group_size: int, minibatch_size: int, max_tokens: int) -> Work:
            return Work(
                model=model,
                prompts=prompts,
                group_size=group_size,
                minibatch_size=minibatch_size,
                max_tokens=max_tokens,
                lr=args.lr,
                threads=args.threads,
            )

        compared = [
            ("full", work(endless, prompts, args.group_size, args.minibatch_size, max_tokens))
            for prompts in args.prompts
            for max_tokens in args.max_tokens
        ]
        tiny = work(resolve_model("tiny"), args.prompts[-1], args.group_size, args.minibatch_size, args.max_tokens[-1])
        grown = [
            work(endless, args.growth_prompts, group_size, args.growth_prompts * group_size, max_tokens)
            for group_size in args.growth_group_sizes
            for max_tokens in args.growth_max_tokens
        ]
        print("| prompts x group | max_tokens | tokens each | ours s | trl s | ratio | ours CPU | trl CPU | ratio |")
        print("|---" * 9 + "|")
        rows = list(against_trl([*compared, ("natural", tiny)], steps=args.steps, blocks=args.blocks))
        print(f"\nOurs, {args.growth_prompts} prompts, one optimizer step, full lengths:")
        print("| G | max_tokens | step s | sample s | update s | CPU s | CPU s/1,000 tokens |")
        print("|---|---|---|---|---|---|---|")
        grown_rows = list(growth(grown, steps=args.steps))
    write_results("step", {"settings": vars(args), "against_trl": rows, "growth": grown_rows})


if __name__ == "__main__":
    main()
