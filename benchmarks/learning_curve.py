"""The README's picture: `python runners/grpo.py` for several seeds, accuracy on held-out problems over steps.

    python benchmarks/learning_curve.py --seeds 0 1 2

Runs that are already in --runs-dir are read, not repeated. Options it does not know go to runners/grpo.py, so with
another --result and --runs-dir it draws the curves of any other run; benchmarks/README.md has those of several turns.
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

ROOT = Path(__file__).resolve().parent.parent
NAMES = {"greedy": "eval_accuracy", "sampled": "eval_sampled_accuracy"}


def run(seed: int, runs_dir: Path, options: list[str]) -> list[dict[str, float]]:
    """Returns the metrics of the run of a seed, training it first if it is not there."""
    metrics = runs_dir / f"seed{seed}" / "metrics.jsonl"
    if not metrics.exists():
        command = [sys.executable, str(ROOT / "runners" / "grpo.py"), "--seed", str(seed), "--name", f"seed{seed}"]
        subprocess.run([*command, "--runs-dir", str(runs_dir), *options], check=True)
    return [json.loads(line) for line in metrics.read_text().splitlines()]


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Returns the first and last evaluations of a run, and its seconds of training."""
    evaluated = [row for row in rows if NAMES["greedy"] in row]
    figures = {"steps": rows[-1]["step"], "num_problems": evaluated[0]["eval_num_problems"]}
    for kind, name in NAMES.items():
        figures[f"{kind}_before"], figures[f"{kind}_after"] = evaluated[0][name], evaluated[-1][name]
    figures["train_s"] = sum(row.get(part, 0.0) for row in rows for part in ("sample_s", "update_s", "sync_s"))
    figures["first_logprob_diff_mean"] = next(
        r["rollout_logprob_diff_mean"] for r in rows if "rollout_logprob_diff_mean" in r
    )
    return figures


def plot(runs: dict[int, list[dict[str, float]]], path: Path, title: str) -> None:
    """Draws one thin line a seed and kind, and their mean."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for (kind, name), color in zip(NAMES.items(), ("C0", "C1"), strict=True):
        curves = {seed: [(row["step"], row[name]) for row in rows if name in row] for seed, rows in runs.items()}
        for points in curves.values():
            axes.plot(*zip(*points, strict=True), color=color, alpha=0.35, linewidth=1)
        steps = [step for step, _ in next(iter(curves.values()))]
        means = [sum(points[i][1] for points in curves.values()) / len(curves) for i in range(len(steps))]
        axes.plot(
            steps, means, color=color, marker="o", markersize=4, label=f"held-out, {kind}: mean of {len(runs)} seeds"
        )
    axes.set(xlabel="GRPO step", ylabel="accuracy", ylim=(0, 1), title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Command line; options it does not know go to runners/grpo.py."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--result", default="learning_curve", help="name of results/NAME.json and docs/NAME.png")
    parser.add_argument("--runs-dir", type=Path, help="default: runs/ and that name")
    parser.add_argument("--title", default="The bundled model on built-in problems")
    args, options = parser.parse_known_args()
    runs_dir = args.runs_dir or ROOT / "runs" / args.result
    runs = {seed: run(seed, runs_dir, options) for seed in args.seeds}
    figures = {f"seed {seed}": summary(rows) for seed, rows in runs.items()}
    print("| seed | greedy before | after | sampled before | after | seconds of training |\n|---|---|---|---|---|---|")
    for seed, row in figures.items():
        shown = [f"{row[name]:.3f}" for name in ("greedy_before", "greedy_after", "sampled_before", "sampled_after")]
        print(f"| {seed.removeprefix('seed ')} | {' | '.join(shown)} | {row['train_s']:.0f} |")
    plot(runs, ROOT / "docs" / f"{args.result}.png", args.title)
    write_results(args.result, figures)


if __name__ == "__main__":
    main()
