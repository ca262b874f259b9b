"""What adapters save: memory, seconds and bytes of a step with every weight trained, and with adapters of rank 16.

    python benchmarks/lora.py
    VLLM_VENV/bin/python benchmarks/lora.py --engine vllm       # and the adapters alone sent to the engine

SmolLM2-135M, 4 problems x 8 completions of up to 64 tokens, one optimizer step; each in a process of its own, so that
its peak of memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from math import prod
from operator import methodcaller
from statistics import median
from typing import Any

import torch
from _results import write_results

from agents.weights import TensorSpec

SIZES = {"num_prompts": 4, "group_size": 8, "minibatch_size": 32, "max_tokens": 64}
RANK_16 = {"lora_rank": 16, "lr": 1e-4}
KINDS: dict[str, dict[str, Any]] = {
    "every weight": {},
    "rank 16, merged": RANK_16,
    "rank 16, alone": {**RANK_16, "weight_transfer": "adapter"},
}


def measured(settings: dict[str, Any], engine: str, steps: int, threads: int) -> dict[str, float]:
    """Returns the figures of a run in this process."""
    from runners.run_folder.metrics import metrics_row
    from runners.run_options import build_config, parse_args, run_settings

    options = ["--preset", "smollm2-135m", "--dataset", "builtin:1-2", "--num-threads", str(threads)]
    options += ["--engine", engine, "--num-env-runners", "0"]
    options += [part for name, value in {**SIZES, **settings}.items() for part in ("--set", f"{name}={value}")]
    algo = build_config(run_settings(parse_args(options))).build_algo()
    rows = [metrics_row(algo.train(), step) for step in range(1, steps + 1)][1:]
    sent = algo.updaters.ask(methodcaller("exported_specs"))
    if algo.link.path == "adapter":
        sent = [TensorSpec.of(*named) for named in algo.updaters.ask(methodcaller("copied_adapters")).items()]
    trained = algo.updaters.ask(_num_trained)
    algo.stop()
    return {
        "parameters_trained": trained,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "bytes_synced": float(sum(prod(spec.shape) * getattr(torch, spec.dtype).itemsize for spec in sent)),
        **{name: median(row[name] for row in rows) for name in ("sample_s", "update_s", "sync_s")},
    }


def _num_trained(updater: Any) -> int:
    return sum(parameter.numel() for parameter in updater.scorer.model.parameters() if parameter.requires_grad)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4, help="the first is left out (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--engine", choices=("transformers", "vllm"), default="transformers")
    parser.add_argument("--only", choices=KINDS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measured(KINDS[args.only], args.engine, args.steps, args.threads)))
        return
    rows = {}
    print("| | parameters trained | peak memory, GB | sampling, s | update, s | weights to the engine, s | MB |")
    print("|---|---|---|---|---|---|---|")
    for kind in KINDS if args.engine == "vllm" else [*KINDS][:2]:
        options = ["--engine", args.engine, "--steps", str(args.steps), "--threads", str(args.threads)]
        command = [sys.executable, __file__, "--only", kind, *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows[kind] = found = json.loads(done.stdout.splitlines()[-1])
        seconds = " | ".join(f"{found[name]:.1f}" for name in ("sample_s", "update_s", "sync_s"))
        print(
            f"| {kind} | {found['parameters_trained']:,} | {found['peak_memory_gb']:.2f} | {seconds} | "
            f"{found['bytes_synced'] / 1e6:.0f} |",
            flush=True,
        )
    write_results(
        f"lora_{args.engine}", {"settings": {**SIZES, "threads": args.threads, "steps": args.steps}, "rows": rows}
    )


if __name__ == "__main__":
    main()
