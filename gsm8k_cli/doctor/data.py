"""Environment, problems and models: what GSM8K_DATASET names, and whether the hub or its cache is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym

import gsm8k_env  # noqa: F401  (registers GSM8K-v0)
from gsm8k_cli.doctor.finding import Finding
from gsm8k_env.hub import HUB_ID, hub_reachable
from gsm8k_env.problems import DATASET_VARIABLE, SPLITS, load_problems

_LONGEST_S = 3.0
_HOW = "a folder with train.jsonl and test.jsonl from https://github.com/openai/grade-school-math"


def hub() -> Iterator[Finding]:
    """Looks whether the hub answers, in 3 s at most, and what its cache on this machine holds."""
    from huggingface_hub import constants

    cached = _cached(Path(constants.HF_HUB_CACHE))
    if constants.HF_HUB_OFFLINE:
        found = f"HF_HUB_OFFLINE is set; {cached}"
        yield Finding(name="hub", state="note", found=found, mend="unset HF_HUB_OFFLINE")
    elif hub_reachable(constants.ENDPOINT, _LONGEST_S):
        yield Finding(name="hub", state="ok", found=f"{constants.ENDPOINT} answers; {cached}")
    else:
        yield Finding(
            name="hub",
            state="note",
            found=f"{constants.ENDPOINT} does not answer within {_LONGEST_S:g} s; {cached}",
            mend="a network, HF_ENDPOINT of a mirror, or a model's folder as --model; "
            "the bundled model and built-in problems need none",
        )


def data() -> Iterator[Finding]:
    """Looks at the problems that dataset="auto" takes."""
    chosen = os.environ.get(DATASET_VARIABLE)
    if not chosen:
        yield Finding(
            name="data",
            state="note",
            found=f"{DATASET_VARIABLE} is not set: {HUB_ID!r} of the hub or its cache, else built-in problems",
            mend=f"export {DATASET_VARIABLE}=FOLDER, {_HOW}",
        )
        return
    try:
        sizes = [f"{len(load_problems(split, 'auto')):,} {split}" for split in SPLITS]
    except (ValueError, OSError) as error:
        mend = f"export {DATASET_VARIABLE}=FOLDER, {_HOW}; or unset {DATASET_VARIABLE}"
        yield Finding(name="data", state="wrong", found=" ".join(str(error).rstrip(".").split()), mend=mend)
    else:
        yield Finding(name="data", state="ok", found=f"{DATASET_VARIABLE}={chosen}: {', '.join(sizes)} problems")


def environment() -> Iterator[Finding]:
    """Looks whether the environment can be made, and rewards a right answer."""
    env: gym.Env[str, str] = gym.make("GSM8K-v0", dataset="builtin:1:8")
    _, info = env.reset(seed=0)
    _, reward, *_ = env.step(f"#### {info['ground_truth']}")
    if reward == 1.0:
        yield Finding(name="environment", state="ok", found="GSM8K-v0 on a built-in problem: reward 1 for its answer")
    else:
        yield Finding(
            name="environment",
            state="wrong",
            found=f"GSM8K-v0 on a built-in problem: reward {reward} for its answer",
            mend="pip install --force-reinstall --no-deps gsm8k-env",
        )


def _cached(folder: Path) -> str:
    """Returns how many models and data sets lie in the hub's cache."""
    counts = [len(list(folder.glob(f"{kind}--*"))) for kind in ("models", "datasets")]
    return f"its cache {folder} has {counts[0]} models and {counts[1]} data sets"
