"""A model's parameters, gradients and optimizer states spread over the ranks: each holds a shard of every one.

torch's fully_shard (FSDP2, https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html; Zhao et al. 2023,
https://arxiv.org/abs/2304.11277). A pass gathers the parameters of a block just before it needs them, on every rank at
once: whatever runs the model, or asks for a full tensor, must run on all ranks together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from runners.updating.ranks import is_rank_0
from runners.updating.scorer import Scorer, blocks


def shard(scorer: Scorer, device: torch.device) -> None:
    """Spreads a scorer over the ranks, in place; rank 0's weights become everyone's.

    The whole model is in no memory but rank 0's main memory; weights travel one by one, and each rank gets its shard
    only. Gradients are summed over the ranks, not averaged.

    Args:
        scorer: Rank 0's has weights; the others' are not looked at.
        device: Where the shards go.

    Raises:
        ValueError: For a model whose blocks are not known.
    """
    weights = {name: p.detach() for name, p in scorer.named_parameters()} if is_rank_0() else None
    buffers = {name: b.detach() for name, b in scorer.named_buffers()} if is_rank_0() else None
    scorer.to("meta")
    scorer.model.tie_weights()
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for module in (*blocks(scorer.model), scorer):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
        assert isinstance(module, FSDPModule)
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # Gloo knows no other
    register_fsdp_forward_method(scorer, "model_logprobs")
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


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Returns a tensor with the shards of all ranks, which must all ask; any other tensor as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_shard(tensor: torch.Tensor) -> torch.Tensor:
    """Returns what this rank holds of a tensor: a shard of it, or all."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gather(tensors: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields full tensors without gradient, one at a time where they are; sharded ones on rank 0 only."""
    for name, tensor in tensors:
        full = full_tensor(tensor.detach())
        if is_rank_0() or not isinstance(tensor, DTensor):
            yield name, full


def shard_like(example: torch.Tensor, full: torch.Tensor) -> torch.Tensor:
    """Returns the shard of `full` that this rank holds of `example`, as `example` holds it; nothing is sent."""
    if not isinstance(example, DTensor):
        return full
    full = full.to(example.device)
    return distribute_tensor(full, example.device_mesh, example.placements, src_data_rank=None)


def keep_state_full(optimizer: torch.optim.Optimizer) -> None:
    """Has the `state_dict` of an optimizer hold full tensors, on rank 0, and `load_state_dict` take them.

    All ranks must ask for it, or load it, together. So a checkpoint loads into any number of ranks, sharded or not.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def gathered(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        moments = {
            index: {name: tensor.to("cpu", copy=True) for name, tensor in gather(sorted(of_one.items()))}
            for index, of_one in sorted(state["state"].items())
        }
        return {**state, "state": moments}

    def scattered(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        moments = {
            index: {
                # A step count is no tensor of the parameter's shape.
                name: shard_like(parameters[index], tensor) if np.shape(tensor) == parameters[index].shape else tensor
                for name, tensor in of_one.items()
            }
            for index, of_one in state["state"].items()
        }
        return {**state, "state": moments}

    optimizer.register_state_dict_post_hook(gathered)
    optimizer.register_load_state_dict_pre_hook(scattered)
