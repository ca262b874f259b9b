"""What kills.py kills, and in which run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A kind of process.

    Attributes:
        options: Of runners/grpo.py, for a run that has such processes.
        resources: The same as a preset's `resources`.
        is_victim: Whether a process of the run is one.
        second_node: Whether env runners are on two nodes, and the second node's raylet is the victim.
        overlaps: Whether it samples during the update: then what is sampled depends on when weights come, and a kill is
            clean if every step is there and every group was trained on once, in its order.
    """

    options: tuple[str, ...] = ()
    resources: dict[str, object]
    is_victim: Callable[[psutil.Process], bool]
    second_node: bool = False
    overlaps: bool = False


def _is_actor(name: str) -> Callable[[psutil.Process], bool]:
    return lambda process: any(part.startswith("ray::") and name in part for part in process.cmdline())


def _is_driver(process: psutil.Process) -> bool:
    return any(part.endswith("runners/grpo.py") for part in process.cmdline()[:2])


def _is_engine(process: psutil.Process) -> bool:
    return "agents.engine_child" in " ".join(process.cmdline())


_ENV_RUNNER = _is_actor("TextEnvRunner")
_LEARNER = _is_actor("_WrappedExecutable")  # the name that Ray knows a learner by
_OVERLAPPING = ("--set", "max_staleness=1", "--dump-steps", "all")
CASES = {
    "driver": Case(resources={}, is_victim=_is_driver),
    "the only env runner": Case(resources={"num_env_runners": 1}, is_victim=_ENV_RUNNER),
    "one of two env runners": Case(resources={"num_env_runners": 2}, is_victim=_ENV_RUNNER),
    "the only learner": Case(resources={"num_learners": 1}, is_victim=_LEARNER),
    "one of two learners": Case(resources={"num_learners": 2}, is_victim=_LEARNER),
    "driver, max_staleness 1": Case(
        options=_OVERLAPPING, resources={"num_env_runners": 1}, is_victim=_is_driver, overlaps=True
    ),
    "env runner, max_staleness 1": Case(
        options=_OVERLAPPING, resources={"num_env_runners": 1}, is_victim=_ENV_RUNNER, overlaps=True
    ),
    "owned vLLM engine": Case(options=("--engine", "vllm"), resources={"num_env_runners": 1}, is_victim=_is_engine),
    "second node": Case(
        resources={"num_env_runners": 2, "custom_resources_per_env_runner": {"engine": 1}},
        is_victim=lambda process: process.name() == "raylet",
        second_node=True,
    ),
}
