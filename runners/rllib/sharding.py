"""A model's parameters, gradients and optimizer states spread over the learners: each holds a part of every one.

torch's fully_shard (FSDP2, https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html; Zhao et al. 2023,
https://arxiv.org/abs/2304.11277). A pass makes the parameters of a block whole just before it needs them, on every
learner at once: whatever runs the model, or asks for a whole tensor, must run on all learners together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from runners.rllib.scorer import Scorer, blocks


def is_follower() -> bool:
    """Returns whether this process is a learner of several, and not the first."""
    return dist.is_initialized() and dist.get_rank() > 0


def shard(scorer: Scorer, device: torch.device) -> None:
    """Spreads a scorer over the learners, in place; the first learner's weights become everyone's.

    The whole model is in no learner's memory but the first one's main memory; weights travel one by one, and each
    learner gets its part only. Gradients are summed over the learners, not averaged.

    Args:
        scorer: The first learner's has weights; the others' are not looked at.
        device: Where the parts go.

    Raises:
        ValueError: For a model whose blocks are not known.
    """
    weights = None if is_follower() else {name: p.detach() for name, p in scorer.named_parameters()}
    buffers = None if is_follower() else {name: b.detach() for name, b in scorer.named_buffers()}
    scorer.to("meta")
    scorer.model.tie_weights()
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for module in (*blocks(scorer.model), scorer):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
        assert isinstance(module, FSDPModule)
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # Gloo knows no other
    scorer.to_empty(device=device)
    with torch.no_grad():
        for name, parameter in scorer.named_parameters():
            assert isinstance(parameter, DTensor)
            full = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
            if weights is not None:
                full.copy_(weights.pop(name))
            parameter.copy_(distribute_tensor(full, mesh, parameter.placements, src_data_rank=0))
        for name, buffer in scorer.named_buffers():
            if buffers is not None:
                buffer.copy_(buffers[name])
            dist.broadcast(buffer, 0)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Returns a tensor with the parts of all learners, which must all ask; any other tensor as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gather(tensors: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields whole copies in main memory, one at a time; of sharded tensors on the first learner only."""
    for name, tensor in tensors:
        full = whole(tensor.detach())
        if not (isinstance(tensor, DTensor) and is_follower()):
            yield name, full.to("cpu", copy=True)


def part_like(example: torch.Tensor, full: torch.Tensor) -> torch.Tensor:
    """Returns the part of `full` that this learner holds of `example`, as `example` holds it; nothing is sent."""
    if not isinstance(example, DTensor):
        return full
    full = full.to(example.device)
    return distribute_tensor(full, example.device_mesh, example.placements, src_data_rank=None)


def whole_optimizer_state(state: dict[str, Any]) -> dict[str, Any]:
    """Returns an optimizer's state_dict with whole arrays in the place of tensors; see `gather`."""
    moments = {
        index: {name: tensor.numpy() for name, tensor in gather(sorted(of_one.items()))}
        for index, of_one in sorted(state["state"].items())
    }
    return {**state, "state": moments}


def part_optimizer_state(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Replaces the whole arrays of a state_dict by this learner's part of them, in place."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, of_one in state["state"].items():
        example = parameters[index]
        for name, array in of_one.items():
            if np.shape(array) == example.shape:  # a step count is not
                of_one[name] = part_like(example, torch.as_tensor(array))
