"""What an agent may offer besides `update_weights`: weights taken without passing through the caller's process.

- "ipc": handles of the learner's own memory (shared memory on a CPU, CUDA IPC on a GPU), opened where the engine is;
- "collective": learner and engine join one process group, and the learner broadcasts.

Both are optional: an agent without them is handed arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

WeightPart = Literal["weights", "kv_cache"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """A parameter before it travels.

    Attributes:
        name: Its Hugging Face name.
        dtype: As torch spells it, "float32" or "bfloat16".
        shape: Its shape.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    def as_list(self) -> list[Any]:
        """Returns name, dtype and shape, for an engine behind JSON."""
        return [self.name, self.dtype, list(self.shape)]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightHandles:
    """The learner's weights as handles, for one engine.

    Attributes:
        specs: What the handles open to, in their order.
        payloads: [W] for each of the engine's workers what `agents.tensor_handles.pack` returned; a payload is opened
            once, since each opening gives back one reference to the memory.
    """

    specs: tuple[TensorSpec, ...]
    payloads: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightGroup:
    """A process group that the learner (rank 0) broadcasts its weights in.

    Attributes:
        address, port: Where the learner's store listens.
        name: Of the group; new with every group, so that a restarted engine never meets an old one.
        backend: "nccl" on GPUs, "gloo" on CPUs.
        world_size: The learner and every worker of every engine.
        first_rank: Rank of this engine's first worker.
        timeout_s: Bound on joining, and on each broadcast, in seconds.
    """

    address: str
    port: int
    name: str
    backend: Literal["nccl", "gloo"]
    world_size: int
    first_rank: int
    timeout_s: float

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields, for an engine behind JSON."""
        return asdict(self)


class WeightReceiver(Protocol):
    """An agent that takes weights by "ipc" or "collective".

    Attributes:
        weight_transfers: Which of both; the methods of the other may be missing.
    """

    weight_transfers: tuple[str, ...]

    def expect_weights(self, specs: Sequence[TensorSpec]) -> int:
        """Returns how many workers take the weights: payloads of a `WeightHandles`, ranks of a `WeightGroup`.

        Raises:
            ValueError: For weights that do not fit the model.
        """
        ...

    def update_weights_from_handles(self, handles: WeightHandles, policy_version: int) -> None:
        """As `Agent.update_weights`, from handles; they are closed when this returns."""
        ...

    def join_weight_group(self, group: WeightGroup) -> None:
        """Joins a group, together with the learner and the other engines; blocks until all have."""
        ...

    def update_weights_from_group(self, specs: Sequence[TensorSpec], policy_version: int) -> None:
        """As `Agent.update_weights`, from the broadcasts of the group joined last: one a spec, in their order."""
        ...


class Sleeper(Protocol):
    """An agent whose engine can give its memory to a learner on the same GPU, if made with `enable_sleep_mode=True`."""

    def sleep(self) -> None:
        """Frees weights and KV cache; the agent is not used until both are awake and weights were updated."""
        ...

    def wake_up(self, part: WeightPart) -> None:
        """Takes memory again for `part`; does nothing where it is awake."""
        ...
