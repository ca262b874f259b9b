"""A process group beside the default one, for the learner's broadcasts: NCCL on GPUs, Gloo on CPUs."""

from __future__ import annotations

import socket
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import torch
from torch import distributed

from agents.weights import TensorSpec

LEARNER_RANK = 0


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


def free_port() -> int:
    """Returns a port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


class WeightChannel:
    """A member of a `WeightGroup`; making one blocks until every member has.

    Where SGLang is the other side, it lays out the store as `torch.distributed.new_group` does, so this does too. The
    group is otherwise PyTorch's bare backend, registered nowhere: a default group of the engine or of the learner knows
    nothing of it, and a member that died leaves nothing to be shut down together.

    Args:
        group: Which group.
        rank: This member's.

    Raises:
        RuntimeError: If not all members joined in time.
    """

    def __init__(self, group: WeightGroup, rank: int) -> None:
        self.group = group
        self._timeout = timedelta(seconds=group.timeout_s)
        host = f"[{group.address}]" if ":" in group.address else group.address
        rendezvous = distributed.rendezvous(f"tcp://{host}:{group.port}", rank, group.world_size, timeout=self._timeout)
        store, *_ = next(rendezvous)
        store.set_timeout(self._timeout)
        for prefix in (group.name, f"{group.name}/", "cuda/" if group.backend == "nccl" else "cpu/"):
            store = distributed.PrefixStore(prefix, store)
        # The only references, so that they can be dropped before the interpreter is gone: PyTorch's threads must not
        # outlive it.
        self._held: dict[str, Any] = {"store": store, "backend": _backend(group, store, rank, self._timeout)}
        self._finalizer = weakref.finalize(self, _leave, self._held, group.backend)

    def send(self, tensors: Iterable[torch.Tensor]) -> None:
        """Broadcasts each tensor; the learner's side.

        Raises:
            RuntimeError: If a member is gone, or does not take part within the group's bound.
        """
        for tensor in tensors:
            self._broadcast(tensor.detach().contiguous())

    def receive(self, specs: Sequence[TensorSpec]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields name and tensor of each broadcast; the engine's side. Raises as `send` does."""
        device = "cuda" if self.group.backend == "nccl" else "cpu"
        for spec in specs:
            tensor = torch.empty(spec.shape, dtype=getattr(torch, spec.dtype), device=device)
            self._broadcast(tensor)
            yield spec.name, tensor

    def close(self) -> None:
        """Leaves the group; the other members are not waited for."""
        self._finalizer()

    def _broadcast(self, tensor: torch.Tensor) -> None:
        options = distributed.BroadcastOptions()
        options.rootRank, options.rootTensor = LEARNER_RANK, 0
        # With a bound of its own, `wait` blocks until the data is there and raises after it, for NCCL too.
        self._held["backend"].broadcast([tensor], options).wait(self._timeout)


class GroupMember:
    """Takes part in one group at a time."""

    def __init__(self) -> None:
        self._channel: WeightChannel | None = None

    def channel(self, group: WeightGroup, rank: int) -> WeightChannel:
        """Returns the channel into a group; one with another name than the last is joined, and the last one left."""
        if self._channel is None or self._channel.group.name != group.name:
            self.leave()
            self._channel = WeightChannel(group, rank)
        return self._channel

    def leave(self) -> None:
        """Leaves the group, if in one."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _backend(group: WeightGroup, store: Any, rank: int, timeout: timedelta) -> Any:
    if group.backend == "gloo":
        return distributed.ProcessGroupGloo(store, rank, group.world_size, timeout=timeout)
    options = distributed.ProcessGroupNCCL.Options()
    # Longer than the bound of `wait`: NCCL's watchdog ends the process when it sees this one pass.
    options._timeout = 2 * timeout
    return distributed.ProcessGroupNCCL(store, rank, group.world_size, options)


def _leave(held: dict[str, Any], backend: str) -> None:
    if backend == "nccl":
        # Without it a communicator waits for members that may be gone.
        held["backend"].abort()
    held.clear()
