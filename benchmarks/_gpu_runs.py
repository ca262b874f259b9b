"""The GRPO runs of gpu_check.py; each is called in a process of its own."""

from __future__ import annotations

import argparse
import gc
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from _gpu import used_mib

# An engine that takes nearly all memory, its default, leaves none to a learner beside it.
MEMORY_SHARE = {"vllm": "gpu_memory_utilization=0.5", "sglang": "mem_fraction_static=0.5"}


def train(engine: str, args: argparse.Namespace) -> dict[str, Any]:
    """Returns the metrics of `--steps` GRPO steps."""
    from runners.run_folder.metrics import metrics_row

    cuda = args.device == "cuda"
    with _algorithm(engine, args) as algo:
        parameters, places = algo.learners.ask(_parameters)
        rows = [metrics_row(algo.train(), step) for step in range(1, args.steps + 1)]
        prompts, path = algo.config.num_prompts, algo.link.path
    return {
        "rows": rows,
        "num_prompts": prompts,
        "parameters": parameters,
        "learner_device": places,
        "weight_transfer": path,
        "learner_peak_bytes": torch.cuda.max_memory_allocated() if cuda else None,
        "device_name": torch.cuda.get_device_name(0) if cuda else "cpu",
    }


def transfer(engine: str, args: argparse.Namespace, path: str) -> dict[str, Any]:
    """Returns seconds and correctness of a path: `--transfer-steps` steps, engine and learner compared after each.

    Over NCCL learner and engine each need a GPU, and so an actor, of their own.
    """
    from runners.run_folder.metrics import metrics_row

    apart = path == "collective" and args.device == "cuda"
    with _algorithm(engine, args, apart=apart, weight_transfer=path) as algo:
        rows = [metrics_row(algo.train(), step) for step in range(1, args.transfer_steps + 1)]
    return {
        "sync_s": statistics.median(row["sync_s"] for row in rows),
        "sync_logprob_diff_max": max(row["sync_logprob_diff"] for row in rows),
        "policy_version": rows[-1]["policy_version"],
    }


def sleep(engine: str, args: argparse.Namespace) -> dict[str, Any]:
    """Returns the device's used MiB while the engine is awake, asleep, and awake again, after a step with both."""
    with _algorithm(engine, args, sleep_during_update=True) as algo:
        algo.train()
        awake = _settled_mib()
        algo.link.sleep()
        asleep = _settled_mib()
        # Wakes the engine, sends it the weights and compares it with the learner.
        algo.deliver_weights()
        return {"awake_mib": awake, "asleep_mib": asleep, "awake_again_mib": _settled_mib()}


def _settled_mib() -> int | None:
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.synchronize()
    return used_mib()


def _parameters(learner: Any) -> tuple[int, str]:
    parameters = list(learner.updater.scorer.model.parameters())
    return sum(parameter.numel() for parameter in parameters), parameters[0].device.type


@contextmanager
def _algorithm(engine: str, args: argparse.Namespace, *, apart: bool = False, **agents: Any) -> Iterator[Any]:
    """Makes the algorithm of `python runners/grpo.py`.

    Args:
        engine: Its engine.
        args: The command line's.
        apart: Whether learner and engine have a process and a GPU each; otherwise both are in this process.
        **agents: Settings of `GRPOConfig.agents`.
    """
    import ray

    from runners.run_options import build_config, parse_args, run_settings

    cuda = args.device == "cuda"
    options = ["--preset", args.preset, "--model", args.model, "--engine", engine, "--dataset", args.dataset]
    options += ["--num-learners", str(int(apart)), "--num-env-runners", str(int(apart))]
    options += ["--num-threads", str(args.threads)]
    options += ["--num-gpus-per-learner", str(int(cuda)), "--num-gpus-per-env-runner", str(int(cuda and apart))]
    engine_options = [f"dtype={'bfloat16' if cuda else 'float32'}"]
    engine_options += [MEMORY_SHARE[engine]] if cuda and engine in MEMORY_SHARE else []
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
    settings = run_settings(parse_args(options))
    settings["agents"] |= agents
    ray.init(include_dashboard=False, log_to_driver=False)
    algo = build_config(settings).build_algo()
    try:
        yield algo
    finally:
        algo.stop()
        ray.shutdown()
