"""The learner's side of a weight transfer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch

from agents.tensor_handles import gpu_uuid, pack
from agents.weight_group import LEARNER_RANK, GroupMember, WeightGroup, free_port
from agents.weight_sources import Adapter, Arrays, WeightSource
from agents.weights import TensorSpec
from runners.updating.lora import adapter_config
from runners.updating.ranks import is_rank_0
from runners.updating.updater import Updater


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerPlace:
    """Where the learner's weights are, and what they are.

    Attributes:
        node: Name of the machine; engines on it have the same.
        address: Of the machine, for others.
        gpu: UUID of the GPU; None on a CPU.
        specs: Every weight, tied ones under one name.
        sharded: Whether a learner holds only a shard of each.
    """

    node: str
    address: str
    gpu: str | None
    sharded: bool = False
    specs: tuple[TensorSpec, ...]


class WeightSender:
    """Hands out the weights that an Updater exports: as arrays, as handles of its memory, or by broadcasts in a group.

    Of sharded ranks each has a sender. They send together: rank 0 what all gather, tensor by tensor.

    Args:
        updater: Whose weights.
        sharded: Whether it holds a shard of each.
        node: Name of this machine.
        address: Its address for others.
        share: Puts arrays where the engines' processes can see them; the arrays themselves, where they are in this one.
    """

    def __init__(
        self,
        updater: Updater,
        *,
        sharded: bool = False,
        node: str = "",
        address: str = "127.0.0.1",
        share: Callable[[Arrays], WeightSource] = lambda arrays: arrays,
    ) -> None:
        self._updater = updater
        self._sharded, self._node, self._address, self._share = sharded, node, address, share
        self._member = GroupMember()
        self._handed_out: list[tuple[str, torch.Tensor]] = []

    def place(self) -> LearnerPlace:
        """Returns where the weights are."""
        device = next(self._updater.scorer.parameters()).device
        return LearnerPlace(
            node=self._node,
            address=self._address,
            gpu=gpu_uuid(device.index or 0) if device.type == "cuda" else None,
            sharded=self._sharded,
            specs=self._updater.exported_specs(),
        )

    def arrays(self) -> WeightSource | None:
        """Returns the weights in main memory, in float32; None on sharded ranks but rank 0."""
        weights = self._updater.exported_weights()
        arrays = Arrays.of((name, tensor.to("cpu", torch.float32).numpy()) for name, tensor in weights)
        return self._share(arrays) if is_rank_0() else None

    def adapter(self) -> WeightSource | None:
        """Returns the adapter in main memory, in float32; None on sharded ranks but rank 0."""
        weights = self._updater.copied_adapters()
        if not is_rank_0():
            return None
        arrays = Arrays.of((name, tensor.float().numpy()) for name, tensor in weights.items())
        config = adapter_config(self._updater.scorer.model)
        return Adapter(specs=arrays.specs, weights=self._share(arrays), config=config)

    def handles(self, count: int) -> list[str]:
        """Returns `count` payloads of handles, one for each process that will open them."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        # Kept: weights merged with adapters are in no other place, and must be until the engines have copied them.
        self._handed_out = list(self._updater.exported_weights())
        return [pack(self._handed_out) for _ in range(count)]

    def free_port(self) -> int:
        """Returns a port of this machine for a group's store."""
        return free_port()

    def broadcast(self, group: WeightGroup) -> None:
        """Broadcasts every weight in a group, which rank 0 joins first; blocks until the engines have them."""
        tensors = (tensor for _, tensor in self._updater.exported_weights())
        try:
            if is_rank_0():
                self._member.channel(group, LEARNER_RANK).send(tensors)
        finally:
            # Sharded ranks gather every tensor together, also where the broadcast has failed.
            deque(tensors, maxlen=0)

    def close(self) -> None:
        """Leaves the group, and takes the weights out of shared memory, which would outlive a killed process."""
        self._member.leave()
        self._handed_out = []
        for parameter in self._updater.scorer.model.parameters():
            if not self._sharded and parameter.device.type == "cpu" and parameter.is_shared():
                parameter.data = parameter.data.clone()

    def free_cached_memory(self) -> None:
        """Gives what torch's allocator keeps in reserve back to the GPU, for the engine to wake up in."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
