r"""What one GPU makes of this project: the contract suite and GRPO on smollm2-135m, with the engines installed here.

    GSM8K_DATASET=FOLDER python benchmarks/gpu_check.py

This script has not been run on a GPU yet: its path has been tried on a CPU only, with the bundled model:

    python benchmarks/gpu_check.py --device cpu --model tiny --dataset builtin:1-2 --no-contract --steps 1 \
        --prompts 2 --max-tokens 16 --transfer-steps 1

Without a GPU and without `--device cpu` it says so and exits with status 2. On a CPU it prints and writes nothing.
For each engine, in a process of its own:

- `pytest tests/agents --engine NAME`;
- GRPO steps, learner and engine on the same GPU, the engine in bfloat16, the learner in bfloat16 autocast over float32
  weights. Figures are medians over the steps but the first;
- the weight sync by each path of `weight_transfer`: through the object store, by CUDA IPC handles, and over NCCL where
  there is a second GPU. After each sync engine and learner are compared;
- the device's memory while the engine is awake, asleep (`sleep_during_update`) and awake again.

Generation is completion tokens over the seconds of sampling. Training is the tokens the update passes through the
model (each group's prompt once) over its seconds, and MFU = 6 * parameters * tokens / seconds / peak (Kaplan et al.,
https://arxiv.org/abs/2001.08361, section 2.1; embeddings counted, attention's own products not), with the device's
dense bfloat16 peak from `PEAK_TFLOPS` or --peak-tflops. Memory: torch's peak in the learner's process, which the
transformers agent shares, and the peak that nvidia-smi reports for the whole device, read twice a second.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from _gpu import DeviceMemory, peak_tflops
from _gpu_runs import sleep, train, transfer
from _results import write_results

ROOT = Path(__file__).resolve().parent.parent
ENGINES = ("transformers", "vllm", "sglang")
# Besides "object_store", which every agent has.
PATHS = {"transformers": ("ipc",), "vllm": ("ipc", "collective"), "sglang": ("ipc", "collective")}
SLEEPERS = ("vllm", "sglang")


def installed_engines() -> list[str]:
    """Returns the engines that can be imported here."""
    return [engine for engine in ENGINES if importlib.util.find_spec(engine) is not None]


def contract_suite(engine: str) -> dict[str, Any]:
    """Runs the contract suite on an engine; returns the exit status and pytest's last line."""
    command = [sys.executable, "-m", "pytest", "tests/agents", "--engine", engine, "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["pytest printed nothing"]
    if done.returncode:
        print("\n".join(lines[-40:]))
    return {"exit_status": done.returncode, "last_line": lines[-1]}


def figures_of(run: dict[str, Any], given_peak: float | None) -> dict[str, Any]:
    """Returns the figures of a run: medians over its steps but the first."""
    rows = run["rows"][1:] or run["rows"]
    trained = [run["num_prompts"] * row["prompt_tokens_mean"] + row["num_completion_tokens"] for row in rows]
    rates = [tokens / row["update_s"] for tokens, row in zip(trained, rows, strict=True)]
    training = statistics.median(rates)
    peak = peak_tflops(run["device_name"], given_peak)
    return {
        **{name: run[name] for name in run if name not in ("rows", "num_prompts")},
        "steps": len(run["rows"]),
        "generation_tokens_per_s": statistics.median(row["sample_tokens_per_s"] for row in rows),
        "training_tokens_per_s": training,
        "peak_tflops": peak,
        "mfu": None if peak is None else 6 * run["parameters"] * training / (peak * 1e12),
        **{f"{part}_s": statistics.median(row[f"{part}_s"] for row in rows) for part in ("sample", "update", "sync")},
        "rollout_logprob_diff_mean": statistics.mean(row["rollout_logprob_diff_mean"] for row in run["rows"]),
        "rollout_logprob_diff_max": max(row["rollout_logprob_diff_max"] for row in run["rows"]),
        "sync_logprob_diff_max": max(row["sync_logprob_diff"] for row in run["rows"]),
        "reward_first": run["rows"][0]["reward_mean"],
        "reward_last": run["rows"][-1]["reward_mean"],
    }


def check(engine: str, args: argparse.Namespace) -> dict[str, Any]:
    """Returns everything about an engine; a failure is part of it, so that what follows still gets its turn."""
    figures: dict[str, Any] = {}
    if args.contract:
        figures["contract"] = contract_suite(engine)
    with DeviceMemory() as memory:
        run = apart(train, engine, args)
    if "failed" in run:
        return {**figures, **run}
    figures |= figures_of(run, args.peak_tflops)
    figures |= {"device_memory_before_mib": memory.before, "device_memory_peak_mib": memory.peak}
    if args.transfer_steps:
        figures["weight_transfers"] = {path: _transfer(engine, args, path) for path in ("object_store", *PATHS[engine])}
        if engine in SLEEPERS:
            figures["sleep"] = apart(sleep, engine, args) if args.device == "cuda" else {"left_out": "needs a GPU"}
    return figures


def apart(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Returns what a run returns in a process of its own; {"failed": the reason} if it raised."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        try:
            return executor.submit(function, *arguments).result()
        # Whatever an engine or the learner raised: it is reported, and the script's exit status says so.
        except Exception as error:
            return {"failed": f"{type(error).__name__}: {error}"}


def _transfer(engine: str, args: argparse.Namespace, path: str) -> dict[str, Any]:
    if path == "collective" and args.device == "cuda" and torch.cuda.device_count() < 2:
        return {"left_out": "needs a second GPU: NCCL refuses learner and engine on one"}
    return apart(transfer, engine, args, path)


def failures(figures: dict[str, Any]) -> list[str]:
    """Returns what failed of an engine's figures."""
    parts = {"GRPO": figures, **figures.get("weight_transfers", {}), "sleep": figures.get("sleep", {})}
    failed = [f"{name}: {part['failed']}" for name, part in parts.items() if "failed" in part]
    return failed + (["contract suite"] if figures.get("contract", {}).get("exit_status") else [])


def show(engine: str, figures: dict[str, Any]) -> None:
    """Prints the table of an engine."""
    print(f"| {engine} | |\n|---|---|")
    if "contract" in figures:
        print(f"| contract suite | {figures['contract']['last_line']} |")
    if "failed" in figures:
        print(f"| GRPO | FAILED: {figures['failed']} |")
        return
    peak, parts = figures["peak_tflops"], (f"{figures[f'{part}_s']:.2f}" for part in ("sample", "update", "sync"))
    mfu = "no peak known" if peak is None else f"{figures['mfu']:.1%} of {peak:g} TFLOP/s"
    device_memory = f"{figures['device_memory_before_mib']}, {figures['device_memory_peak_mib']} MiB"
    print(f"| device, of the learner | {figures['device_name']}, {figures['learner_device']} |")
    print(f"| parameters | {figures['parameters'] / 1e6:.1f} M |")
    print(f"| generation, tokens/s | {figures['generation_tokens_per_s']:.0f} |")
    print(f"| training, tokens/s | {figures['training_tokens_per_s']:.0f} |")
    print(f"| MFU of the update | {mfu} |")
    print(f"| s a step: sample, update, sync | {', '.join(parts)} |")
    print(f"| torch's memory peak, learner's process | {_gib(figures['learner_peak_bytes'])} |")
    print(f"| nvidia-smi before, peak | {device_memory if figures['device_memory_peak_mib'] else 'none'} |")
    differences = f"{figures['rollout_logprob_diff_mean']:.2g}, {figures['rollout_logprob_diff_max']:.2g}"
    print(f"| logprob difference engine to learner: mean, max | {differences} |")
    print(f"| the same after a sync, largest mean | {figures['sync_logprob_diff_max']:.2g} |")
    print(f"| weights by | {figures['weight_transfer']} |")
    for path, part in figures.get("weight_transfers", {}).items():
        done = "{sync_s:.3f} s, logprob difference after it {sync_logprob_diff_max:.2g}"
        print(f"| sync by {path}, median | {_outcome(part, done)} |")
    if "sleep" in figures:
        done = "awake {awake_mib} MiB, asleep {asleep_mib} MiB, awake again {awake_again_mib} MiB"
        print(f"| nvidia-smi around sleep | {_outcome(figures['sleep'], done)} |")


def _outcome(part: dict[str, Any], done: str) -> str:
    if "failed" in part:
        return f"FAILED: {part['failed']}"
    return part["left_out"] if "left_out" in part else done.format(**part)


def _gib(size: int | None) -> str:
    return "none, no GPU" if size is None else f"{size / 2**30:.2f} GiB"


def _fault(args: argparse.Namespace) -> str | None:
    """Returns why the check cannot be made, in words; None if it can."""
    if args.device == "cuda" and not torch.cuda.is_available():
        return (
            "torch sees no GPU here, so nothing was measured. To try the script's path without one: --device cpu "
            "--model tiny --dataset builtin:1-2 --no-contract --steps 1 --prompts 2 --max-tokens 16 --transfer-steps 1"
        )
    if args.dataset == "auto" and not os.environ.get("GSM8K_DATASET"):
        return "GSM8K_DATASET is not set: it names the official data (a folder of .jsonl or .parquet, or openai/gsm8k)."
    missing = sorted(set(args.engines) - set(installed_engines()))
    if missing:
        return f"not installed here: {', '.join(missing)}; installed: {', '.join(installed_engines()) or 'none'}."
    return None


def main() -> int:
    """Command line; returns the exit status: 0, 1 if an engine failed, 2 if nothing could be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=installed_engines())
    parser.add_argument("--engine-option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--contract", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--preset", default="smollm2-135m")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dataset", default="auto", help="default: what GSM8K_DATASET names")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--transfer-steps", type=int, default=5, help="steps by each weight path; 0 leaves them out")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--peak-tflops", type=float, help="dense bfloat16 peak of a device that the table lacks")
    args = parser.parse_args()
    if fault := _fault(args):
        print(fault, file=sys.stderr)
        return 2
    if args.device == "cpu":
        print("On the CPU, to try the script's path: these are no figures of a GPU.")
    figures = {}
    for engine in args.engines:
        figures[engine] = check(engine, args)
        show(engine, figures[engine])
    if args.device == "cuda":
        write_results("gpu_check", figures)
    return 1 if any(failures(part) for part in figures.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
