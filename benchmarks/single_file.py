"""The same training by `runners/grpo.py` and by `examples/grpo_single_file.py`: accuracy over steps, and seconds.

    OMP_NUM_THREADS=1 python benchmarks/single_file.py

One after the other, from the same weights, over the same problems in the same order; the samples differ. Runs that are
already in --runs-dir are read, not repeated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from _results import write_results
from learning_curve import NAMES, ROOT, run

SINGLE_FILE, RUNNER = "examples/grpo_single_file.py", "runners/grpo.py"


def run_single_file(seed: int, steps: int, runs_dir: Path) -> list[dict[str, float]]:
    """Returns the metrics of the single file's run, training it first if it is not there."""
    log = runs_dir / f"single_file_seed{seed}.jsonl"
    if not log.exists():
        runs_dir.mkdir(parents=True, exist_ok=True)
        options = ["--seed", str(seed), "--steps", str(steps), "--log", str(log)]
        subprocess.run([sys.executable, str(ROOT / SINGLE_FILE), *options], check=True)
    return [json.loads(line) for line in log.read_text().splitlines()]


def seconds(row: dict[str, float]) -> float:
    """Returns the seconds of a step's training, evaluation apart; 0 for step 0."""
    return sum(row.get(part, 0.0) for part in ("step_s", "sample_s", "update_s", "sync_s"))


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Returns first and last accuracies and the seconds of training."""
    evaluated = [row for row in rows if NAMES["greedy"] in row]
    figures = {"steps": rows[-1]["step"], "train_s": sum(map(seconds, rows))}
    for kind, name in NAMES.items():
        figures |= {f"{kind}_before": evaluated[0][name], f"{kind}_after": evaluated[-1][name]}
    return figures


def plot(runs: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Draws greedy and sampled accuracy, a colour each, the single file's dashed."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for (script, rows), style in zip(runs.items(), ("-", "--"), strict=True):
        for (kind, name), color in zip(NAMES.items(), ("C0", "C1"), strict=True):
            points = [(row["step"], row[name]) for row in rows if name in row]
            axes.plot(
                *zip(*points, strict=True), style, color=color, marker="o", markersize=4, label=f"{script}, {kind}"
            )
    axes.set(xlabel="GRPO step", ylabel="accuracy on held-out problems", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--runs-dir", type=Path, default=ROOT / "runs" / "single_file")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "single_file_curve.png")
    args = parser.parse_args()
    runs = {
        RUNNER: run(args.seed, args.runs_dir, ["--steps", str(args.steps), "--num-threads", "1"]),
        SINGLE_FILE: run_single_file(args.seed, args.steps, args.runs_dir),
    }
    figures = {script: summary(rows) for script, rows in runs.items()}
    print(
        "| script | greedy before | after | sampled before | after | seconds of training |\n|---|---|---|---|---|---|"
    )
    for script, row in figures.items():
        shown = [f"{row[name]:.3f}" for name in ("greedy_before", "greedy_after", "sampled_before", "sampled_after")]
        print(f"| {script} | {' | '.join(shown)} | {row['train_s']:.0f} |")
    plot(runs, args.picture)
    write_results("single_file", {"seed": args.seed, **figures})


if __name__ == "__main__":
    main()
