"""What engine and learner do when, with and without overlap: a picture, and the seconds of a step.

    python benchmarks/timeline.py --engine vllm                  # in vLLM's environment
    python benchmarks/timeline.py --engine vllm --options "--engine-option max_num_seqs=12" --name timeline_vllm_12

The preset tiny with one remote env runner, once for each max_staleness, a thread each for engine and learner.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import wraps
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from _results import write_results

from runners.rllib.grpo import GRPO
from runners.run_folder.metrics import metrics_row
from runners.run_options import build_config, parse_args, run_settings

ROOT = Path(__file__).resolve().parent.parent
Span = tuple[float, float]


def timed(function: Callable[..., Any], spans: list[Span]) -> Callable[..., Any]:
    """Returns the function, which notes when it worked."""

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        began = time.time()
        try:
            return function(*args, **kwargs)
        finally:
            spans.append((began, time.time()))

    return wrapper


def run(options: list[str], max_staleness: int, in_flight: str, steps: int) -> dict[str, Any]:
    """Returns the rows and the spans of a run, in seconds since its first step began."""
    settings = ["--set", f"max_staleness={max_staleness}"]
    settings += ["--set", f"in_flight={in_flight}"] if max_staleness else []
    algo: GRPO = build_config(run_settings(parse_args([*options, *settings]))).build_algo()
    spans: dict[str, list[Span]] = {"sampling": [], "update": [], "delivery": []}
    algo.learn = timed(algo.learn, spans["update"])  # type: ignore[method-assign]
    algo.deliver_weights = timed(algo.deliver_weights, spans["delivery"])  # type: ignore[method-assign]
    if max_staleness:
        groups: Any = algo.groups
        collect = groups.collect

        def noting(wait_s: float = 0.0) -> Any:
            collected = collect(wait_s)
            for answer in filter(None, collected):
                spans["sampling"] += [(group.begun_at, group.ended_at) for group in answer.groups]
            return collected

        groups.collect = noting
    else:
        algo.sample = timed(algo.sample, spans["sampling"])  # type: ignore[method-assign]
    began = time.time()
    rows, ends, two_versions = [], [], 0
    for step in range(1, steps + 1):
        rows.append(metrics_row(algo.train(), step))
        ends.append(time.time() - began)
        two_versions += sum(rollout.policy_versions is not None for rollout in algo.trained_on)
    algo.stop()
    return {
        "max_staleness": max_staleness,
        "in_flight": in_flight if max_staleness else None,
        "step_s": median(later - earlier for earlier, later in pairwise(ends)),
        "staleness_max": max(row.get("staleness_max", 0.0) for row in rows),
        "episodes_of_two_versions": two_versions,
        "sample_s": median(row["sample_s"] for row in rows[1:]),
        "update_s": median(row["update_s"] for row in rows[1:]),
        "sync_s": median(row["sync_s"] for row in rows[1:]),
        "spans": {
            name: [(round(start - began, 3), round(end - began, 3)) for start, end in found]
            for name, found in spans.items()
        },
    }


def plot(runs: list[dict[str, Any]], path: Path, seconds: float) -> None:
    """Draws a row for the engine and one for the learner of each run."""
    figure, axes = plt.subplots(len(runs), 1, figsize=(9, 1.5 * len(runs) + 0.6), sharex=True, layout="constrained")
    for axis, found in zip(axes, runs, strict=True):
        spans = found["spans"]
        for name, place, style in (
            ("sampling", 1, {"color": "0.75", "edgecolor": "0.5"}),
            ("update", 0, {"color": "0.3"}),
            ("delivery", 0, {"color": "white", "edgecolor": "black", "hatch": "////"}),
        ):
            bars = [(start, end - start) for start, end in spans[name] if end > 0 and start < seconds]
            axis.broken_barh(bars, (place - 0.35, 0.7), label=name, linewidth=0.4, **style)
        kept = f", in_flight={found['in_flight']}" if found["in_flight"] else ""
        axis.set(yticks=[0, 1], yticklabels=["learner", "engine"], xlim=(0, seconds))
        axis.set_title(f"max_staleness={found['max_staleness']}{kept}: {found['step_s']:.2f} s a step", fontsize=9)
    axes[-1].set_xlabel("seconds")
    axes[0].legend(loc="upper right", ncols=3, fontsize=8)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--engine", default="transformers")
    parser.add_argument("--options", default="", help="further ones of runners/grpo.py, separated by spaces")
    parser.add_argument("--name", help="of the .json, and of the picture in docs/ (default: timeline_ENGINE)")
    args = parser.parse_args()
    name = args.name or f"timeline_{args.engine}"
    options = ["--preset", "tiny", "--engine", args.engine, "--num-threads", "1", "--num-env-runners", "1"]
    options += args.options.split()
    kinds = [(0, "finish"), (1, "finish")] + ([(1, "continue")] if args.engine != "sglang" else [])
    runs = [run(options, staleness, in_flight, args.steps) for staleness, in_flight in kinds]
    print("| max_staleness | in_flight | s a step | waiting for samples | update | delivery | staleness_max |")
    print("|---|---|---|---|---|---|---|")
    for found in runs:
        seconds = " | ".join(f"{found[name]:.2f}" for name in ("step_s", "sample_s", "update_s", "sync_s"))
        print(f"| {found['max_staleness']} | {found['in_flight'] or ''} | {seconds} | {found['staleness_max']:g} |")
        print(f"  episodes with tokens of two versions: {found['episodes_of_two_versions']}")
    plot(runs, ROOT / "docs" / f"{name}.png", seconds=max(end for _, end in runs[0]["spans"]["delivery"]) * 0.6)
    write_results(name, {"runs": runs})


if __name__ == "__main__":
    main()
