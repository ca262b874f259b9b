"""The learner's side of a weight transfer."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import ray
import torch
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from agents.tensor_handles import gpu_uuid, pack
from agents.weight_group import LEARNER_RANK, GroupMember, WeightGroup, free_port
from agents.weights import TensorSpec
from runners.rllib.sharding import is_follower, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerPlace:
    """Where the learner's weights are, and what they are.

    Attributes:
        node: Ray's id of the machine.
        address: Of the machine, for others of the cluster.
        gpu: UUID of the GPU; None on a CPU.
        specs: Every parameter, tied ones under one name.
        sharded: Whether the learner holds only a part of each; see `sharding`.
    """

    node: str
    address: str
    gpu: str | None
    sharded: bool = False
    specs: tuple[TensorSpec, ...]


class WeightSender:
    """Hands out the weights of a model: as handles of its memory, or by broadcasts in a group.

    Of sharded learners each has a sender. They send together: the first one what all make whole, tensor by tensor.

    Args:
        model: Whose parameters, always in the order of `named_parameters`.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._member = GroupMember()

    def place(self) -> LearnerPlace:
        """Returns where the weights are."""
        device = next(self._model.parameters()).device
        return LearnerPlace(
            node=ray.get_runtime_context().get_node_id(),
            address=ray.util.get_node_ip_address(),
            gpu=gpu_uuid(device.index or 0) if device.type == "cuda" else None,
            sharded=any(isinstance(parameter, DTensor) for parameter in self._model.parameters()),
            specs=tuple(TensorSpec.of(name, parameter) for name, parameter in self._model.named_parameters()),
        )

    def handles(self, count: int) -> list[str]:
        """Returns `count` payloads of handles, one for each process that will open them."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return [pack(self._model.named_parameters()) for _ in range(count)]

    def free_port(self) -> int:
        """Returns a port of this machine for a group's store."""
        return free_port()

    def send(self, group: WeightGroup) -> None:
        """Broadcasts every parameter in a group, which rank 0 joins first; blocks until the engines have them."""
        tensors = (whole(parameter.detach()) for parameter in self._model.parameters())
        try:
            if not is_follower():
                self._member.channel(group, LEARNER_RANK).send(tensors)
        finally:
            # Sharded learners make every tensor whole together, also where the broadcast has failed.
            deque(tensors, maxlen=0)

    def close(self) -> None:
        """Leaves the group, and takes the weights out of shared memory, which would outlive a killed process."""
        self._member.leave()
        for parameter in self._model.parameters():
            if parameter.device.type == "cpu" and not isinstance(parameter, DTensor) and parameter.is_shared():
                parameter.data = parameter.data.clone()

    def free_cached_memory(self) -> None:
        """Gives what torch's allocator keeps in reserve back to the GPU, for the engine to wake up in."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
