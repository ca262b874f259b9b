"""One golden run in the tree that stands first on the path: metrics of each step and a digest of the weights.

PYTHONPATH=TREE python tests/golden/run.py CASE OUTPUT.json
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import torch
from safetensors.torch import load_file

from runners.rllib.grpo import GRPOConfig

STEPS = 4
_BUILTIN = "gsm8k_env:GSM8K-v0"
# name -> what differs from the tiny preset; all weights of these cases must be equal to the bit.
CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "env-runners-2": {"env_runners": {"num_env_runners": 2}},
    "learners-2": {"learners": {"num_learners": 2}},
    "both-2": {"env_runners": {"num_env_runners": 2}, "learners": {"num_learners": 2}},
    "grpo": {"training": {"algorithm": "grpo"}},
    "ppo": {"training": {"algorithm": "ppo", "num_epochs": 2}},
    "dapo": {"training": {"algorithm": "dapo", "max_tokens": 64}},
    "kl-in-reward": {"training": {"algorithm": "rloo", "minibatch_size": None}},
    "several-turns": {"env": "gsm8k_env:GSM8KMultiTurn-v0", "training": {"max_tokens": 48, "num_prompts": 16}},
    "sharded": {"learners": {"num_learners": 2}, "training": {"algorithm": "grpo", "fully_shard": True}},
    "sharded-ppo": {
        "learners": {"num_learners": 2},
        "training": {"algorithm": "ppo", "kl_coeff": 0.01, "kl_placement": "reward", "fully_shard": True},
    },
    "vllm": {"agents": {"engine": "vllm", "engine_options": {"seed": 0}}},
}


def config(case: Mapping[str, Any]) -> GRPOConfig:
    """Returns the tiny preset with what the case changes."""
    training = {"num_prompts": 32, "group_size": 8, "minibatch_size": 128, "max_prompt_tokens": 128, "max_tokens": 96}
    training |= {"lr": 1e-4, "grad_clip": 1.0} | case.get("training", {})
    if training["num_prompts"] < 32:
        training["minibatch_size"] = None
    return (
        GRPOConfig()
        .environment(case.get("env", _BUILTIN), env_config={"dataset": "builtin:1-2"})
        .agents(num_threads=1, **case.get("agents", {}))
        .training(**training)
        .env_runners(**{"num_env_runners": 0} | case.get("env_runners", {}))
        .learners(**{"num_learners": 0} | case.get("learners", {}))
        .evaluation(evaluation_duration=32, evaluation_config={"env_config": {"split": "test"}})
        .debugging(seed=0, log_level="ERROR")
    )


def run(case: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the metrics of every step, those of an evaluation at the end, and a digest of every weight."""
    algo = config(case).build_algo()
    steps = []
    for _ in range(STEPS):
        result = algo.train()
        steps.append(_numbers({"rollouts": result["rollouts"], "learner": result["learners"]["default_policy"]}))
    steps.append(_numbers({"evaluation": algo.evaluate()}))
    with tempfile.TemporaryDirectory() as folder:
        algo.save_policy(folder)
        weights = load_file(Path(folder) / "model.safetensors")
    algo.stop()
    digests = {name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in weights.items()}
    return {"steps": steps, "weights": digests}


def _numbers(tree: Any, prefix: str = "") -> dict[str, float]:
    if isinstance(tree, Mapping):
        found: dict[str, float] = {}
        for name, value in tree.items():
            found |= _numbers(value, f"{prefix}/{name}" if prefix else str(name))
        return found
    value = float(copy.deepcopy(tree))
    return {prefix: value} if math.isfinite(value) else {prefix: -1e300}


if __name__ == "__main__":
    torch.set_num_threads(1)
    ray.init(num_cpus=8, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    Path(sys.argv[2]).write_text(json.dumps(run(CASES[sys.argv[1]]), indent=1))
    ray.shutdown()
