"""What a run cannot change on its way: every setting that decides what the next steps are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from typing import Any

# Where and how fast it is computed, not what; the numbers stay those of the run, up to rounding.
_FREE = {
    "agents": {
        "engine_options", "gpus_per_engine", "num_threads", "sleep_during_update", "sync_check_bound",
        "sync_timeout_s", "trust_remote_code", "weight_transfer",
    },
    "training": {"fully_shard", "gradient_checkpointing", "max_logits", "micro_batch_tokens", "share_prompts"},
}  # fmt: skip
# As the command line calls them, where that is another name.
_NAMES = {
    "environment": "--env",
    "agents.policy_model": "--model",
    "agents.engine": "--engine",
    "env_options.dataset": "--dataset",
    "fingerprints.train": "sha256 of the training problems",
    "fingerprints.eval": "sha256 of the evaluation's problems",
    "fingerprints.model": "sha256 of the model",
}
_SHOWN = 60


def differences(began: Mapping[str, Any], now: Mapping[str, Any], moving_options: Set[str]) -> list[str]:
    """Returns a clause for each difference that matters.

    Problems and model may lie elsewhere, as long as their fingerprints are those they were.

    Args:
        began: config.yaml as the checkpoint has it.
        now: The same, with the command line and whatever was changed in the file.
        moving_options: Options of the environment that only say where the problems lie.
    """
    # JSON, as checkpoints have it, knows no tuples.
    began, now = (json.loads(json.dumps(config)) for config in (began, now))
    before, after = _flat(began), _flat(now)
    free = {f"{section}.{name}" for section, names in _FREE.items() for name in names}
    same = {
        name
        for name, value in began["fingerprints"].items()
        if value is not None and value == now["fingerprints"].get(name)
    }
    if "model" in same:
        free.add("agents.policy_model")
    if {"train", "eval"} <= same:
        free |= {f"{section}.{name}" for section in ("env_options", "eval_env_options") for name in moving_options}
    changed = [
        name
        for name in sorted(before.keys() | after.keys())
        if name not in free and before.get(name) != after.get(name)
    ]
    called = [_NAMES.get(name, name.removeprefix("training.")) for name in changed]
    return [
        f"{call} is {_shown(after.get(name))}, not {_shown(before.get(name))}"
        for call, name in zip(called, changed, strict=True)
    ]


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns {"section.name": value}; how long the run is, and on what machines, is left out."""
    flat = {name: config[name] for name in ("preset", "seed", "environment")}
    for section in ("env_options", "eval_env_options", "agents", "training", "fingerprints"):
        flat |= {f"{section}.{name}": value for name, value in config[section].items()}
    return flat


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:16] + "..."
