"""Which policy-gradient algorithm learns most from the same number of generated tokens: algorithms x seeds.

    python benchmarks/algorithms.py                               # every algorithm, its own learning rate, five seeds
    python benchmarks/algorithms.py --algorithms grpo rloo --seeds 3 --lr 1e-4 --token-budget 50000
    python benchmarks/algorithms.py --report-only                 # the table and the picture of the runs that are there

The bundled model learns built-in problems of one and two steps. All runs have the same token budget, problems a step,
group size, optimizer, parser and evaluation; seed i gives every algorithm the same problems in the same
order. The score is accuracy on held-out problems of each level, sampled at temperature 1 and greedy. Statistics:
interquartile mean over seeds x levels with bootstrap intervals, P(better than grpo), performance profile
(https://arxiv.org/abs/2108.13264; see `_run_statistics`). benchmarks/README.md has the protocol in words.

Runs go through Ray Tune, as many at a time as there are cores for. Each finished run is a file in --runs-dir and is not
repeated: after an interrupt or a kill the same command goes on, and only runs that were under way start again.

Each algorithm first runs every --lr on seeds that are used for nothing else (--tuning-seeds), and the rate with the
best mean sampled score is used for the runs that count. With a single --lr all have that one.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # Before torch is imported; the runs' processes inherit it.
    _DEFAULTS = {
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_AIR_NEW_OUTPUT": "0",  # Tune's own tables cannot be silenced otherwise
    }
    os.environ.update({**_DEFAULTS, **os.environ})

import ray
import torch
import transformers
from _algorithm_plot import plot
from _algorithm_report import algorithm_figures, best_lr, group_by_algorithm, table
from _algorithm_runs import MODEL, HeldOutProblems, Protocol, RunFolder, RunKey, train_and_score
from _results import RESULTS, write_results
from ray import tune

import agents
from runners.objectives.algorithms import ALGORITHMS
from runners.support.provenance import provenance

ROOT = Path(__file__).resolve().parent.parent
FIRST_TUNING_SEED = 1000
START = "start"
PROTOCOL_OPTIONS = ("token_budget", "num_prompts", "group_size", "minibatch_size", "eval_problems", "threads")


class Progress(tune.Callback):
    """Prints a line as each run ends."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Prints the run's scores."""
        self._done += 1
        result = trial.last_result
        print(
            f"{self._done}/{self._total} {result['run']}: sampled {result['sampled']:.3f}, greedy "
            f"{result['greedy']:.3f}, {result['tokens']:,} tokens, {result['steps']} steps, {result['train_s']:.0f} s",
            flush=True,
        )


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

    def run(config: dict[str, Any]) -> None:
        key = RunKey(**config["key"])
        record = train_and_score(key, protocol)
        folder.write(key.name, {**record, "commit": origin["commit"], "versions": origin["versions"]})
        means = {kind: sum(scores) / len(scores) for kind, scores in record["scores"].items()}
        tune.report({"run": key.name, **means, **{name: record[name] for name in ("tokens", "steps", "train_s")}})

    with tempfile.TemporaryDirectory() as storage:
        tuner = tune.Tuner(
            tune.with_resources(run, {"cpu": protocol.threads}),
            param_space={"key": tune.grid_search([asdict(key) for key in missing])},
            # Imports and Ray's own start take longer than a step: a process makes one run after the other.
            tune_config=tune.TuneConfig(max_concurrent_trials=concurrent, reuse_actors=True),
            run_config=tune.RunConfig(storage_path=storage, verbose=0, callbacks=[Progress(len(missing))]),
        )
        errors = [str(error) for error in tuner.fit().errors]
    # Tune takes an interrupt for itself and returns.
    if sum(folder.read(key.name) is None for key in missing) > len(errors):
        raise KeyboardInterrupt
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
    subtitle = f"The bundled model, {protocol.token_budget:,} generated tokens a run, {seeds} seeds"
    plot(figures, subtitle=subtitle, path=args.picture)
    path = write_results(
        "algorithms",
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
    print(f"results: {path.name}; picture: {args.picture.name}")


def _finished(keys: Sequence[RunKey], folder: RunFolder) -> dict[RunKey, Any]:
    return {key: record for key in keys if (record := folder.read(key.name)) is not None}


def _start_ray(concurrent: int, threads: int) -> None:
    if not ray.is_initialized():
        ray.init(
            num_cpus=concurrent * threads, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False
        )
    for name in ("ray.rllib", "ray.tune", "ray.train", "ray._private"):
        logging.getLogger(name).setLevel(logging.ERROR)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Returns the command line's options."""
    defaults = Protocol()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS), choices=list(ALGORITHMS), metavar="NAME")
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
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "algorithms.png")
    parser.add_argument("--results-dir", type=Path, default=RESULTS, help="of algorithms.json")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code: 0, 1 if runs failed, 130 if interrupted."""
    args = parse_args(argv)
    transformers.utils.logging.disable_progress_bar()
    protocol = replace(Protocol(), **{name: getattr(args, name) for name in PROTOCOL_OPTIONS})
    folder = RunFolder(args.runs_dir, protocol)
    concurrent = args.max_concurrent or max(1, (os.cpu_count() or 1) // protocol.threads)
    num_failed = 0

    def run(keys: Sequence[RunKey]) -> None:
        nonlocal num_failed
        if args.report_only:
            return
        _start_ray(concurrent, protocol.threads)
        for message in run_missing(keys, folder, concurrent, protocol):
            num_failed += 1
            print(message, file=sys.stderr)

    try:
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
