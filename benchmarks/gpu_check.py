"""What one GPU makes of this project: the contract suite and GRPO on smollm2-135m, with the engines installed here.

    GSM8K_DATASET=FOLDER python benchmarks/gpu_check.py

This script has not been run on a GPU yet: its path has been tried on a CPU only, with the bundled model:

    python benchmarks/gpu_check.py --device cpu --model tiny --dataset builtin:1-2 --no-contract --steps 1 --prompts 2

Without a GPU and without `--device cpu` it says so and exits with status 2. On a CPU it prints and writes nothing.
For each engine, in a process of its own:

- `pytest tests/agents --engine NAME`;
- GRPO steps, learner and engine on the same GPU, the engine in bfloat16, the learner in bfloat16 autocast over float32
  weights. Figures are medians over the steps but the first.

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
import shutil
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from _results import write_results

ROOT = Path(__file__).resolve().parent.parent
ENGINES = ("transformers", "vllm", "sglang")
# Dense bfloat16 TFLOP/s of the makers' data sheets, without sparsity. The first name found in the device's counts.
PEAK_TFLOPS = {
    "H200": 989.0,
    "H100 NVL": 835.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10G": 70.0,
    "A10": 125.0,
    "RTX 4090": 165.2,
    "RTX 3090": 71.0,
}
# An engine that takes nearly all memory, its default, leaves none to a learner beside it.
MEMORY_SHARE = {"vllm": "gpu_memory_utilization=0.5", "sglang": "mem_fraction_static=0.5"}


def installed_engines() -> list[str]:
    """Returns the engines that can be imported here."""
    return [engine for engine in ENGINES if importlib.util.find_spec(engine) is not None]


def peak_tflops(device_name: str, given: float | None) -> float | None:
    """Returns the device's dense bfloat16 peak in TFLOP/s: as given, else of the table, else None."""
    if given is not None:
        return given
    return next((peak for name, peak in PEAK_TFLOPS.items() if name in device_name), None)


def contract_suite(engine: str) -> dict[str, Any]:
    """Runs the contract suite on an engine; returns the exit status and pytest's last line."""
    command = [sys.executable, "-m", "pytest", "tests/agents", "--engine", engine, "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["pytest printed nothing"]
    if done.returncode:
        print("\n".join(lines[-40:]))
    return {"exit_status": done.returncode, "last_line": lines[-1]}


class DeviceMemory:
    """Reads the device's used memory every half second, until stopped.

    Attributes:
        before, peak: MiB in use at the start, and the most seen; None where there is no nvidia-smi.
    """

    def __init__(self) -> None:
        self.before = self.peak = self._read()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> DeviceMemory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while self.peak is not None and not self._stop.wait(0.5):
            self.peak = max(self.peak, self._read() or 0)

    def _read(self) -> int | None:
        if shutil.which("nvidia-smi") is None:
            return None
        command = ["nvidia-smi", "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        done = subprocess.run(command, capture_output=True, text=True)
        return int(done.stdout) if done.returncode == 0 else None


def train(engine: str, args: argparse.Namespace) -> dict[str, Any]:
    """Returns the metrics of `--steps` GRPO steps; called in a process of its own."""
    from runners.run_folder.metrics import metrics_row

    cuda = args.device == "cuda"
    with _algorithm(engine, args) as algo:
        parameters, places = algo._ask_first_learner(_parameters)
        rows = [metrics_row(algo.train(), step) for step in range(1, args.steps + 1)]
        prompts = algo.config.num_prompts
    return {
        "rows": rows,
        "num_prompts": prompts,
        "parameters": parameters,
        "learner_device": places,
        "learner_peak_bytes": torch.cuda.max_memory_allocated() if cuda else None,
        "device_name": torch.cuda.get_device_name(0) if cuda else "cpu",
    }


def _parameters(learner: Any) -> tuple[int, str]:
    parameters = list(learner.module["default_policy"].model.parameters())
    return sum(parameter.numel() for parameter in parameters), parameters[0].device.type


@contextmanager
def _algorithm(engine: str, args: argparse.Namespace) -> Iterator[Any]:
    """Makes the algorithm of `python runners/grpo.py`, with learner and env runner in this process."""
    import ray

    from runners.grpo import build_config, parse_args, run_settings

    options = ["--preset", args.preset, "--model", args.model, "--engine", engine, "--dataset", args.dataset]
    options += ["--num-learners", "0", "--num-env-runners", "0", "--num-threads", str(args.threads)]
    options += ["--num-gpus-per-learner", "1" if args.device == "cuda" else "0"]
    engine_options = [f"dtype={'bfloat16' if args.device == 'cuda' else 'float32'}"]
    engine_options += [MEMORY_SHARE[engine]] if args.device == "cuda" and engine in MEMORY_SHARE else []
    # --engine-option is last, so that it wins.
    for option in [*engine_options, *args.engine_option]:
        options += ["--engine-option", option]
    # One optimizer step a step: exactly one forward and one backward pass, as the MFU assumes.
    for name, value in (
        ("num_prompts", args.prompts),
        ("group_size", args.group_size),
        ("max_tokens", args.max_tokens),
    ):
        options += ["--set", f"{name}={value}"]
    options += ["--set", "minibatch_size=null", "--set", "num_epochs=1"]
    ray.init(include_dashboard=False, log_to_driver=False)
    algo = build_config(run_settings(parse_args(options))).build_algo()
    try:
        yield algo
    finally:
        algo.stop()
        ray.shutdown()


def figures_of(run: dict[str, Any], given_peak: float | None) -> dict[str, Any]:
    """Returns the figures of a run: medians over its steps but the first."""
    rows = run["rows"][1:] or run["rows"]
    trained = [run["num_prompts"] * row["prompt_tokens_mean"] + row["num_completion_tokens"] for row in rows]
    rates = [tokens / row["update_s"] for tokens, row in zip(trained, rows, strict=True)]
    training = statistics.median(rates)
    peak = peak_tflops(run["device_name"], given_peak)
    return {
        **{name: run[name] for name in ("device_name", "learner_device", "parameters", "learner_peak_bytes")},
        "steps": len(run["rows"]),
        "generation_tokens_per_s": statistics.median(row["sample_tokens_per_s"] for row in rows),
        "training_tokens_per_s": training,
        "peak_tflops": peak,
        "mfu": None if peak is None else 6 * run["parameters"] * training / (peak * 1e12),
        **{f"{part}_s": statistics.median(row[f"{part}_s"] for row in rows) for part in ("sample", "update", "sync")},
        "logprob_diff_mean": statistics.mean(row["logprob_diff_mean"] for row in run["rows"]),
        "logprob_diff_max": max(row["logprob_diff_max"] for row in run["rows"]),
        "sync_logprob_diff_max": max(row["sync_logprob_diff"] for row in run["rows"]),
        "reward_first": run["rows"][0]["reward_mean"],
        "reward_last": run["rows"][-1]["reward_mean"],
    }


def check(engine: str, args: argparse.Namespace) -> dict[str, Any]:
    """Returns everything about an engine; a failure is part of it, so that the next engine still gets its turn."""
    figures: dict[str, Any] = {}
    if args.contract:
        figures["contract"] = contract_suite(engine)
    context = multiprocessing.get_context("spawn")
    with DeviceMemory() as memory, ProcessPoolExecutor(1, mp_context=context) as executor:
        try:
            run = executor.submit(train, engine, args).result()
        # Whatever an engine or the learner raised: it is reported, and the script's exit status says so.
        except Exception as error:
            return {**figures, "failed": f"{type(error).__name__}: {error}"}
    figures |= figures_of(run, args.peak_tflops)
    return {**figures, "device_memory_before_mib": memory.before, "device_memory_peak_mib": memory.peak}


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
    differences = f"{figures['logprob_diff_mean']:.2g}, {figures['logprob_diff_max']:.2g}"
    print(f"| logprob difference engine to learner: mean, max | {differences} |")
    print(f"| the same after a sync, largest mean | {figures['sync_logprob_diff_max']:.2g} |")


def _gib(size: int | None) -> str:
    return "none, no GPU" if size is None else f"{size / 2**30:.2f} GiB"


def _fault(args: argparse.Namespace) -> str | None:
    """Returns why the check cannot be made, in words; None if it can."""
    if args.device == "cuda" and not torch.cuda.is_available():
        return (
            "torch sees no GPU here, so nothing was measured. To try the script's path without one: --device cpu "
            "--model tiny --dataset builtin:1-2 --steps 1 --prompts 2 --max-tokens 16"
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
    failed = [f for f in figures.values() if "failed" in f or f.get("contract", {}).get("exit_status")]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
