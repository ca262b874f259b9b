"""Does a real pretrained model learn on a laptop: base, warm start and GRPO on the same held-out problems.

    python benchmarks/pretrained.py

Runs the presets smollm2-135m-sft and smollm2-135m-grpo, one from the other's policy, and evaluates base, warm start and
the end. Ctrl-C or a kill at any time: the same command goes on. Options of the two runs: --sft "--steps 200".
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from _paired_test import exact_mcnemar
from _results import write_results

from runners.run_folder.reading import read_rows

ROOT = Path(__file__).resolve().parent.parent
SAMPLING = {"greedy": 0.0, "sampled": 0.7}
STAGES = ("base", "warm start", "GRPO")
_SECONDS = ("sample_s", "update_s", "sync_s")


def call(script: str, *arguments: object) -> None:
    """Runs a script of runners/; ends this one with its exit code if that is not 0."""
    command = [sys.executable, str(ROOT / "runners" / script), *map(str, arguments)]
    print("$", shlex.join(command[1:]), flush=True)
    if code := subprocess.run(command).returncode:
        sys.exit(code)


def train(script: str, folder: Path, options: list[str]) -> list[dict[str, float]]:
    """Trains to the end, from where an earlier call stopped; returns the rows of metrics."""
    done = folder.parent / f"{folder.name}.done"
    if not done.exists():
        resume = (folder / "metrics.jsonl").exists()
        where = ["--resume", folder] if resume else ["--runs-dir", folder.parent, "--name", folder.name, *options]
        call(script, *where)
        done.touch()
    return list(read_rows(folder / "metrics.jsonl", numbers=True))


def evaluate(model: str | Path, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Returns accuracy, Wilson interval and each problem's verdict, greedy and sampled once."""
    found = {}
    for kind, temperature in SAMPLING.items():
        output = folder / kind
        if not (output / "results.json").exists():
            call(
                *("evaluate.py", "--model", model, "--temperature", temperature, "--max-tokens", args.max_tokens),
                *("--dataset", args.dataset, "--num-problems", args.num_problems, "--num-threads", args.num_threads),
                *("--output-dir", output),
            )
        score = json.loads((output / "results.json").read_text())["results"]["scores"]["flexible"]
        samples = [json.loads(line) for line in (output / "samples.jsonl").read_text().splitlines()]
        verdicts = {sample["index"]: sample["grades"]["flexible"]["correct"] for sample in samples}
        found[kind] = {
            "accuracy": score["accuracy"],
            "wilson_95": score["wilson_95"],
            "correct": [verdicts[index] for index in sorted(verdicts)],
        }
    return found


def figures_of(scores: dict[str, Any], runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Returns what results/pretrained.json holds."""
    figures: dict[str, Any] = {
        name: {kind: {key: value for key, value in score.items() if key != "correct"} for kind, score in stage.items()}
        for name, stage in scores.items()
    }
    for name, rows in runs.items():
        figures[name] |= {
            "steps": rows[-1]["step"],
            "training_s": round(sum(row.get(part, 0.0) for row in rows for part in _SECONDS), 1),
        }
        figures[name]["curve"] = [
            {key: row[key] for key in ("step", "loss", "reward_mean", "zero_variance_share") if key in row}
            for row in rows
            if row["step"]
        ]
    if "GRPO" in scores:
        figures["GRPO"]["p_value_against_warm_start"] = {
            kind: exact_mcnemar(scores["warm start"][kind]["correct"], scores["GRPO"][kind]["correct"])
            for kind in SAMPLING
        }
    return figures


def plot(figures: dict[str, Any], path: Path, title: str) -> None:
    """Draws the accuracies with their intervals, and the reward of training; grey tones and marks tell them apart."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    names = [name for name in STAGES if name in figures]
    for offset, (kind, style) in enumerate(
        zip(SAMPLING, ({"color": "0.25"}, {"color": "0.8", "hatch": "//"}), strict=True)
    ):
        places = [place + 0.4 * offset - 0.2 for place in range(len(names))]
        values = [figures[name][kind]["accuracy"] for name in names]
        bounds = [figures[name][kind]["wilson_95"] for name in names]
        errors = [[v - low for v, (low, _) in zip(values, bounds, strict=True)]]
        errors += [[high - v for v, (_, high) in zip(values, bounds, strict=True)]]
        label = kind if kind == "greedy" else f"sampled at {SAMPLING[kind]:g}"
        left.bar(places, values, 0.4, yerr=errors, capsize=3, edgecolor="black", label=label, **style)
    left.set(xticks=range(len(names)), xticklabels=names, ylim=(0, 1), ylabel="held-out accuracy", title=title)
    left.legend(frameon=False, loc="upper left")
    curve = figures.get("GRPO", {}).get("curve", [])
    steps = [row["step"] for row in curve]
    right.plot(steps, [row["reward_mean"] for row in curve], color="black", label="training reward")
    right.plot(
        steps, [row["zero_variance_share"] for row in curve], color="0.6", linestyle="--", label="zero-variance groups"
    )
    right.set(xlabel="GRPO step", ylim=(0, 1), title="training")
    right.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=130)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs-dir", type=Path, default=ROOT / "runs" / "pretrained")
    parser.add_argument("--dataset", default="builtin:1-2", help="of all three evaluations (default: %(default)s)")
    parser.add_argument("--num-problems", type=int, default=200, help="held out, of each (default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, default=80)
    parser.add_argument("--num-threads", type=int, default=2)
    parser.add_argument("--sft", default="", help="further options of the warm start")
    parser.add_argument("--grpo", default="", help="further options of GRPO")
    args = parser.parse_args()
    threads = ["--num-threads", str(args.num_threads)]
    warm, grpo = args.runs_dir / "warm", args.runs_dir / "grpo"
    presets = {name: ["--preset", f"smollm2-135m-{name}"] for name in ("sft", "grpo")}

    scores, runs = {"base": evaluate("smollm2-135m", args.runs_dir / "eval-base", args)}, {}
    runs["warm start"] = train("sft.py", warm, [*presets["sft"], *threads, *shlex.split(args.sft)])
    scores["warm start"] = evaluate(warm / "policy", args.runs_dir / "eval-warm", args)
    from_warm = ["--model", str(warm / "policy")]
    runs["GRPO"] = train("grpo.py", grpo, [*presets["grpo"], *from_warm, *threads, *shlex.split(args.grpo)])
    scores["GRPO"] = evaluate(grpo / "policy", args.runs_dir / "eval-grpo", args)

    figures = figures_of(scores, runs)
    for name in STAGES:
        row = [
            f"{kind} {100 * figures[name][kind]['accuracy']:.1f} % "
            f"({', '.join(f'{100 * bound:.1f}' for bound in figures[name][kind]['wilson_95'])})"
            for kind in SAMPLING
        ]
        print(f"{name}: {'; '.join(row)}")
    plot(figures, ROOT / "docs" / "pretrained.png", f"SmolLM2-135M on {args.dataset}")
    write_results("pretrained", figures)


if __name__ == "__main__":
    main()
