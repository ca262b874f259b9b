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
        ends: Whether the run ends with it, to be resumed.
        second_node: Whether env runners are on two nodes, and the second node's raylet is the victim.
    """

    options: tuple[str, ...] = ()
    resources: dict[str, object]
    is_victim: Callable[[psutil.Process], bool]
    ends: bool
    second_node: bool = False


def _is_actor(name: str) -> Callable[[psutil.Process], bool]:
    return lambda process: " ".join(process.cmdline()).startswith(f"ray::{name}")


def _is_driver(process: psutil.Process) -> bool:
    return any(part.endswith("runners/grpo.py") for part in process.cmdline()[:2])


def _is_engine(process: psutil.Process) -> bool:
    return "agents.engine_child" in " ".join(process.cmdline())


_ENV_RUNNER, _LEARNER = _is_actor("TextEnvRunner"), _is_actor("GRPOLearner")
CASES = {
    "driver": Case(resources={}, is_victim=_is_driver, ends=True),
    "the only env runner": Case(resources={"num_env_runners": 1}, is_victim=_ENV_RUNNER, ends=False),
    "one of two env runners": Case(resources={"num_env_runners": 2}, is_victim=_ENV_RUNNER, ends=False),
    "the only learner": Case(resources={"num_learners": 1}, is_victim=_LEARNER, ends=True),
    "one of two learners": Case(resources={"num_learners": 2}, is_victim=_LEARNER, ends=True),
    "owned vLLM engine": Case(
        options=("--engine", "vllm"), resources={"num_env_runners": 1}, is_victim=_is_engine, ends=False
    ),
    "second node": Case(
        resources={"num_env_runners": 2, "custom_resources_per_env_runner": {"engine": 1}},
        is_victim=lambda process: process.name() == "raylet",
        ends=False,
        second_node=True,
    ),
}
