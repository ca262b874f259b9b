"""Which algorithm learns most from the same number of generated tokens: entries x seeds, ours or not.

    python benchmarks/algorithms.py                               # our algorithms, a learning rate for each, five seeds
    python benchmarks/algorithms.py --algorithms grpo rloo trl-grpo --seeds 3 --lr 1e-4 --token-budget 50000
    python benchmarks/algorithms.py --entry grpo my_module:train --task two-step     # one of your own: docs/entries.md
    python benchmarks/algorithms.py --report-only                 # the table and the picture of the runs that are there

The bundled model learns built-in problems. An entry is a function `train(task) -> folder`; it runs in a process of its
own, and what it returns is scored from the folder alone. All runs have the same token budget, model, problems and
evaluation; the shipped entries also the same problems a step, group size, minibatches and rates to choose from. The
score is accuracy on held-out problems of each level, sampled at temperature 1 and greedy. Statistics: interquartile
mean over seeds x levels with bootstrap intervals, P(better than grpo), performance profile
(https://arxiv.org/abs/2108.13264; see `_run_statistics`). benchmarks/README.md has the protocol in words.

As many runs at a time as there are cores for. Each finished run is a file in --runs-dir and is not repeated: after an
interrupt or a kill the same command goes on, and only runs that were under way start again.

Each entry first runs every --lr on seeds that are used for nothing else (--tuning-seeds), and the rate with the best
mean sampled score is used for the runs that count. With a single --lr all have that one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import transformers
from _algorithm_plot import plot
from _algorithm_report import algorithm_figures, best_lr, group_by_algorithm, table
from _algorithm_runs import RunFolder, RunKey, train_and_score
from _entry_process import load_entry
from _protocol import MODEL, TASKS, Protocol
from _results import RESULTS, write_results
from _scores import HeldOutProblems
from entries import OTHERS, OURS, place_of

import agents
from runners.support.provenance import provenance

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(os.getcwd())  # for an entry of the user's own
FIRST_TUNING_SEED = 1000
START = "start"
PROTOCOL_OPTIONS = ("token_budget", "num_prompts", "group_size", "minibatch_size", "eval_problems", "threads")


def run_missing(keys: Sequence[RunKey], folder: RunFolder, concurrent: int, protocol: Protocol) -> list[str]:
    """Runs those of `keys` that have no file, and returns the errors of those that failed.

    Raises:
        KeyboardInterrupt: On an interrupt, which ends the runs under way; finished ones have their files.
    """
    missing = [key for key in keys if folder.read(key.name) is None]
    if not missing:
        return []
    print(f"{len(missing)} of {len(keys)} runs to do, {concurrent} at a time", flush=True)
    origin = provenance("benchmarks/algorithms.py", sys.argv[1:])
    errors = []
    with ThreadPoolExecutor(concurrent) as pool:
        runs = {pool.submit(train_and_score, key, protocol): key for key in missing}
        try:
            for done, run in enumerate(as_completed(runs), 1):
                name = runs[run].name
                if error := run.exception():
                    errors.append(f"{name}: {error}")
                    continue
                record = run.result()
                folder.write(name, {**record, "commit": origin["commit"], "versions": origin["versions"]})
                sampled, greedy = (fmean(record["scores"][kind]) for kind in ("sampled", "greedy"))
                print(
                    f"{done}/{len(missing)} {name}: sampled {sampled:.3f}, greedy {greedy:.3f}, "
                    f"{record['tokens']:,} tokens, {record['train_s']:.0f} s",
                    flush=True,
                )
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return errors


def start_scores(folder: RunFolder, protocol: Protocol) -> dict[str, list[float]]:
    """Returns the scores before training, the same for all runs, measured once."""
    record = folder.read(START)
    if record is None:
        torch.set_num_threads(protocol.threads)
        agent = agents.make("transformers", model=MODEL)
        record = {"protocol": asdict(protocol), "scores": HeldOutProblems(protocol).final_scores(agent)}
        agent.close()
        folder.write(START, record)
    return record["scores"]


def chosen_rates(args: argparse.Namespace, run: Any, folder: RunFolder) -> dict[str, float]:
    """Returns each algorithm's learning rate: the only one given, or the best on the tuning seeds."""
    if len(args.lr) == 1:
        return dict.fromkeys(args.algorithms, args.lr[0])
    seeds = range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + args.tuning_seeds)
    keys = [RunKey(algorithm=a, lr=lr, seed=s) for s in seeds for a in args.algorithms for lr in args.lr]
    run(keys)
    rates = {}
    for algorithm, records in group_by_algorithm(keys, _finished(keys, folder)).items():
        if len(records) == len(seeds) * len(args.lr):
            rates[algorithm] = best_lr(records)
    if lacking := [name for name in args.algorithms if name not in rates]:
        raise SystemExit(f"Tuning runs are missing for {', '.join(lacking)}: give the command again to make them.")
    print("learning rates: " + ", ".join(f"{name} {lr:g}" for name, lr in rates.items()), flush=True)
    return rates


def report(
    runs: dict[str, list[Any]], start: dict[str, list[float]], protocol: Protocol, args: argparse.Namespace
) -> None:
    """Prints the table, draws the picture and writes the results."""
    usable = {name: records for name, records in runs.items() if len(records) >= 2}
    if lacking := [name for name in args.algorithms if name not in usable]:
        print(f"fewer than two finished runs, left out: {', '.join(lacking)}")
    if not usable:
        raise SystemExit("Nothing to report: an interval needs two finished seeds of an algorithm.")
    figures = algorithm_figures(usable, start, protocol)
    print(table(figures))
    seeds = max(map(len, usable.values()))
    name = "algorithms" if args.task == Protocol().task else f"algorithms_{args.task}"
    picture = args.picture or ROOT / "docs" / f"{name}.png"
    subtitle = f"The bundled model, {TASKS[args.task].says}, {protocol.token_budget:,} generated tokens, {seeds} seeds"
    plot(figures, subtitle=subtitle, path=picture)
    path = write_results(
        name,
        {
            "protocol": asdict(protocol),
            "learning_rates": {"tried": args.lr, "tuning_seeds": args.tuning_seeds if len(args.lr) > 1 else 0},
            "commits_of_runs": sorted({str(record["commit"]) for records in usable.values() for record in records}),
            "start": start,
            # The profile follows from the runs' scores, and would be most of the file.
            "algorithms": {
                name: {key: value for key, value in row.items() if key != "profile"} for name, row in figures.items()
            },
        },
        args.results_dir,
    )
    print(f"results: {path.name}; picture: {picture.name}")


def _finished(keys: Sequence[RunKey], folder: RunFolder) -> dict[RunKey, Any]:
    return {key: record for key in keys if (record := folder.read(key.name)) is not None}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Returns the command line's options."""
    defaults = Protocol()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        *("--algorithms", "--entry"),
        nargs="+",
        default=list(OURS),
        metavar="NAME",
        help=f"{', '.join([*OURS, *OTHERS])}, or module:function of your own (docs/entries.md); default: the first "
        f"{len(OURS)}",
    )
    parser.add_argument("--task", choices=TASKS, default=defaults.task, help=f"default: {defaults.task}")
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 on (default: 5)")
    parser.add_argument(
        "--lr", type=float, nargs="+", default=[3e-5, 1e-4, 3e-4], help="to choose from, or one for all"
    )
    parser.add_argument("--tuning-seeds", type=int, default=2, help="seeds that choose among several --lr (default: 2)")
    for field in PROTOCOL_OPTIONS:
        value = getattr(defaults, field)
        parser.add_argument(f"--{field.replace('_', '-')}", type=int, default=value, help=f"default: {value}")
    parser.add_argument("--max-concurrent", type=int, help="runs at a time (default: cores / threads)")
    parser.add_argument("--report-only", action="store_true", help="train nothing")
    parser.add_argument("--runs-dir", type=Path, default=RESULTS / "algorithms_runs", help="a file for each run")
    parser.add_argument("--picture", type=Path, help="default: docs/algorithms.png, or algorithms_TASK.png")
    parser.add_argument("--results-dir", type=Path, default=RESULTS, help="of algorithms.json, or algorithms_TASK.json")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code: 0, 1 if runs failed, 130 if interrupted."""
    args = parse_args(argv)
    transformers.utils.logging.disable_progress_bar()
    protocol = replace(Protocol(), task=args.task, **{name: getattr(args, name) for name in PROTOCOL_OPTIONS})
    folder = RunFolder(args.runs_dir / args.task, protocol)
    concurrent = args.max_concurrent or max(1, (os.cpu_count() or 1) // protocol.threads)
    num_failed = 0

    def run(keys: Sequence[RunKey]) -> None:
        nonlocal num_failed
        if args.report_only:
            return
        for message in run_missing(keys, folder, concurrent, protocol):
            num_failed += 1
            print(message, file=sys.stderr)

    try:
        for name in args.algorithms:
            if place_of(name) == name:
                load_entry(name)
        start = start_scores(folder, protocol)
        rates = chosen_rates(args, run, folder)
        # Seed by seed, so that what is there after a stop compares all algorithms.
        keys = [RunKey(algorithm=a, lr=rates[a], seed=s) for s in range(args.seeds) for a in args.algorithms]
        run(keys)
        report(group_by_algorithm(keys, _finished(keys, folder)), start, protocol, args)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. Finished runs are kept: give the command again to go on.", file=sys.stderr)
        return 130
    return 1 if num_failed else 0


if __name__ == "__main__":
    sys.exit(main())
