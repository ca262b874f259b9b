"""What one default `train()` runs: the project's files and their lines, and the private names of RLlib it meets.

    PYTHONPATH=TREE python tests/golden/footprint.py

A file counts if a function body in it runs; a name of RLlib if a class of ours defines it, or code that ran has it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import ray
import torch

import runners.rllib.grpo as grpo

TREE = Path(grpo.__file__).parent.parent.parent
PACKAGES = ("gsm8k_env", "agents", "runners")


def main() -> None:
    """Prints the files, then the names."""
    torch.set_num_threads(1)
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    config = grpo.GRPOConfig().environment("gsm8k_env:GSM8K-v0", env_config={"dataset": "builtin:1-2"})
    algo = config.agents(num_threads=1).training(max_tokens=64, minibatch_size=128).build_algo()
    codes: set[CodeType] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            codes.add(frame.f_code)

    sys.setprofile(note)
    algo.train()
    sys.setprofile(None)
    ours = {code for code in codes if is_ours(code.co_filename)}
    files = sorted({Path(code.co_filename) for code in ours})
    for file in files:
        print(f"{len(file.read_text().splitlines()):5} {file.relative_to(TREE)}")
    print(f"{len(files)} files, {sum(len(file.read_text().splitlines()) for file in files)} lines")
    names = private_names(algo, ours)
    print(f"{len(names)} private names of RLlib: {', '.join(sorted(names))}")
    ray.shutdown()


def is_ours(filename: str) -> bool:
    """Returns whether a file is the project's own."""
    path = Path(filename)
    return path.is_relative_to(TREE) and path.relative_to(TREE).parts[0] in PACKAGES


def private_names(algo: Any, codes: set[CodeType]) -> set[str]:
    """Returns the names with one leading underscore that RLlib's objects have, and our code defines or has."""
    group = algo.learner_group
    objects = [algo, algo.config, group, algo.env_runner_group, algo.env_runner_group.local_env_runner]
    objects += [result.get() for result in group.foreach_learner(lambda learner: learner)]
    objects += [objects[-1].module["default_policy"]]
    rllib: set[str] = set()
    defined: set[str] = set()
    for thing in objects:
        own: set[str] = set()
        for cls in type(thing).__mro__:
            (rllib if cls.__module__.startswith("ray.") else own).update(vars(cls))
        defined |= own
        if type(thing).__module__.startswith("ray."):
            rllib |= vars(thing).keys()
    # What RLlib sets on instances of our classes, read from its classes' code.
    rllib |= {
        name
        for thing in objects
        for cls in type(thing).__mro__
        if cls.__module__.startswith("ray.")
        for function in vars(cls).values()
        if hasattr(function, "__code__")
        for name in function.__code__.co_names
    }
    met = {name for code in codes for name in code.co_names} | defined
    return {name for name in rllib & met if name.startswith("_") and not name.startswith("__") and name != "_abc_impl"}


if __name__ == "__main__":
    main()
