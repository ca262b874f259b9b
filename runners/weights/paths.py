"""Which way the weights take from the learner to the engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from runners.weights.sender import LearnerPlace

WeightPath = Literal["object_store", "ipc", "collective", "adapter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePlace:
    """Where an engine is, and what it takes.

    Attributes:
        node: Name of its env runner's machine.
        gpus: UUIDs of the GPUs that the env runner sees; an engine uses the first `num_workers`.
        remote: Whether the engine is a server, which may run anywhere.
        transfers: What its agent takes besides arrays: "ipc", "collective", "adapter".
        num_workers: Processes that hold its model.
    """

    node: str
    gpus: tuple[str, ...]
    remote: bool
    transfers: tuple[str, ...]
    num_workers: int

    def is_on(self, gpu: str | None) -> bool:
        """Returns whether a worker of the engine runs on that GPU."""
        return gpu in self.gpus[: self.num_workers]


def choose_path(setting: str, learner: LearnerPlace, engines: Sequence[EnginePlace], engine: str) -> WeightPath:
    """Returns the path that `weight_transfer=setting` means here.

    "auto" is "object_store" for a learner on a CPU and for servers; "ipc" where each engine has the learner's GPU and
    no other; "collective" where none has it; and "object_store" for any mixture, or an agent that takes arrays only.
    It is never "adapter", the smallest: an engine that adds an adapter to each product samples slower than one with the
    merged weights (vLLM on a CPU for 1.6 times the processor seconds), and not every model can be served with one.

    Args:
        setting: "auto" or a path.
        learner: Where the learner is.
        engines: Where the engines are.
        engine: Their agent's name, for messages.

    Raises:
        ValueError: If the path asked for cannot be taken; the message says why, and which can.
    """
    if setting == "auto":
        return _automatic(learner, engines)
    fault = _fault(setting, learner, engines)
    if fault:
        raise ValueError(f"agents(weight_transfer={setting!r}) is not possible with engine {engine!r} here: {fault}")
    return setting  # type: ignore[return-value]


def _automatic(learner: LearnerPlace, engines: Sequence[EnginePlace]) -> WeightPath:
    if learner.gpu is None or any(place.remote or not place.gpus for place in engines):
        return "object_store"
    if all(place.is_on(learner.gpu) and place.num_workers == 1 for place in engines):
        return "object_store" if _fault("ipc", learner, engines) else "ipc"
    return "object_store" if _fault("collective", learner, engines) else "collective"


def _fault(path: str, learner: LearnerPlace, engines: Sequence[EnginePlace]) -> str | None:
    """Returns why a path cannot be taken, and what to do; None if it can."""
    if path == "object_store":
        return None
    if any(path not in place.transfers for place in engines):
        taken = ", ".join(repr(name) for name in ("object_store", *engines[0].transfers))
        return f"its agent takes {taken}."
    if path == "ipc" and learner.sharded:
        return "sharded learners hold a part of each weight, and no memory that an engine could open. Use 'collective'."
    if path == "ipc" and any(place.node != learner.node for place in engines):
        return "learner and engines are on several machines, and handles of memory hold on one. Use 'collective'."
    if path == "collective" and any(place.is_on(learner.gpu) for place in engines):
        return "learner and engine share a GPU, which NCCL refuses. Use 'ipc'."
    if path == "collective" and any(
        not place.remote and (learner.gpu is None) == bool(place.gpus) for place in engines
    ):
        return "one of learner and engine is on a GPU and the other is not. Use 'object_store'."
    return None
