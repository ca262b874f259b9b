"""What an agent may offer besides `update_weights`: weights from a source of its choice, and memory for the learner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from agents.base import Agent

if TYPE_CHECKING:
    from agents.weight_sources import WeightSource
    from agents.weights import TensorSpec

WeightPart = Literal["weights", "kv_cache"]


@runtime_checkable
class WeightLoader(Protocol):
    """An agent that takes weights from a `WeightSource` itself, as every agent here does.

    Attributes:
        weight_transfers: The ways it takes them besides arrays and files: "ipc" (`Handles`: of the learner's memory,
            opened where the engine is), "collective" (`Broadcast`: in a process group of learner and engines) and
            "adapter" (`Adapter`: beside weights that it has).
    """

    weight_transfers: tuple[str, ...]

    def num_workers(self) -> int:
        """Returns how many processes hold the model or a shard of it: payloads of `Handles`, ranks of a group."""
        ...

    def check_weights(self, specs: Sequence[TensorSpec]) -> None:
        """Raises ValueError for weights that do not fit the model."""
        ...

    def load_weights(self, source: WeightSource, policy_version: int) -> None:
        """Replaces the weights (Hugging Face names) and drops every cache made with the old ones.

        Raises:
            ValueError: For weights that do not fit the model; nothing is changed then.
            EngineError: If the engine died, hung or cannot be reached.
        """
        ...


class Sleeper(Protocol):
    """An agent whose engine can give its memory to a learner on the same GPU, if made with `enable_sleep_mode=True`."""

    def sleep(self) -> None:
        """Frees weights and KV cache; the agent is not used until both are awake and weights were loaded."""
        ...

    def wake_up(self, part: WeightPart) -> None:
        """Takes memory again for `part`; does nothing where it is awake."""
        ...


def load_weights(agent: Agent, source: WeightSource, policy_version: int) -> None:
    """Has any agent take the weights of `source`; one that is no `WeightLoader` gets them as plain tensors."""
    if isinstance(agent, WeightLoader):
        agent.load_weights(source, policy_version)
    else:
        agent.update_weights(source.tensors(), policy_version)
