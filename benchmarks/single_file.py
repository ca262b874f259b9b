"""The same training by `runners/grpo.py` and by `examples/grpo_single_file.py`: accuracy over steps, and CPU seconds.

    OMP_NUM_THREADS=1 python benchmarks/single_file.py

One after the other, from the same weights, over the same problems in the same order; samples differ. CPU seconds are
the whole script's, start and evaluations included: on a shared machine they wander less than the clock's. Runs that
are already in --runs-dir are read, not repeated.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from _results import write_results
from learning_curve import NAMES, ROOT, run

RUNNER, SINGLE_FILE = "runners/grpo.py", "examples/grpo_single_file.py"
Rows = list[dict[str, float]]


def run_single_file(seed: int, runs_dir: Path, options: list[str]) -> Rows:
    """Returns the metrics of the single file's run, training it first if it is not there."""
    log = runs_dir / f"single_file_seed{seed}.jsonl"
    if not log.exists():
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(ROOT / SINGLE_FILE), "--seed", str(seed), "--log", str(log), *options]
        subprocess.run(command, check=True)
    return [json.loads(line) for line in log.read_text().splitlines()]


def cpu_seconds() -> float:
    """Returns the CPU seconds of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def noted(seconds: float, note: Path) -> float:
    """Returns what `note` says; a new note says `seconds`, those of the run just made."""
    if not note.exists():
        note.write_text(f"{seconds:.1f}\n")
    return float(note.read_text())


def summary(rows: Rows, cpu_s: float) -> dict[str, float]:
    """Returns first and last accuracies and the seconds."""
    evaluated = [row for row in rows if NAMES["greedy"] in row]
    figures = {"steps": rows[-1]["step"], "cpu_s": cpu_s}
    for kind, name in NAMES.items():
        figures |= {f"{kind}_before": evaluated[0][name], f"{kind}_after": evaluated[-1][name]}
    return figures


def plot(runs: dict[str, Rows], path: Path) -> None:
    """Draws greedy and sampled accuracy, a colour each, the single file's dashed."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for (script, rows), style in zip(runs.items(), ("o-", "o--"), strict=True):
        for (kind, name), color in zip(NAMES.items(), ("C0", "C1"), strict=True):
            steps, values = zip(*[(row["step"], row[name]) for row in rows if name in row], strict=True)
            axes.plot(steps, values, style, color=color, markersize=4, label=f"{script}, {kind}")
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
    runs: dict[str, Rows] = {}
    figures = {}
    for script, train, options in ((RUNNER, run, ["--num-threads", "1"]), (SINGLE_FILE, run_single_file, [])):
        before = cpu_seconds()
        runs[script] = train(args.seed, args.runs_dir, ["--steps", str(args.steps), *options])
        note = args.runs_dir / f"{Path(script).stem}_seed{args.seed}_cpu_s.txt"
        figures[script] = summary(runs[script], noted(cpu_seconds() - before, note))
    print("| script | greedy before | after | sampled before | after | CPU seconds |\n|---|---|---|---|---|---|")
    for script, row in figures.items():
        shown = [f"{row[name]:.3f}" for name in ("greedy_before", "greedy_after", "sampled_before", "sampled_after")]
        print(f"| {script} | {' | '.join(shown)} | {row['cpu_s']:.0f} |")
    plot(runs, args.picture)
    write_results("single_file", {"seed": args.seed, **figures})


if __name__ == "__main__":
    main()
