"""Weights in SGLang's words; the engine and the server take the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.weight_transfer import TensorSpec, WeightGroup


def num_workers(*, tp_size: int, pp_size: int, dp_size: int) -> int:
    """Returns how many workers take weights.

    Raises:
        ValueError: For pipeline or data parallelism, which SGLang's weight groups leave out.
    """
    for name, size in (("pp_size", pp_size), ("dp_size", dp_size)):
        if size > 1:
            raise ValueError(
                f"SGLang updates weights by handles or a group only with {name}=1, not {size}: use "
                "weight_transfer='object_store'."
            )
    return tp_size


def join_request(group: WeightGroup) -> dict[str, Any]:
    """Returns the arguments of `init_weights_update_group`."""
    return {
        "master_address": group.address,
        "master_port": group.port,
        "rank_offset": group.first_rank,
        "world_size": group.world_size,
        "group_name": group.name,
        "backend": group.backend,
    }


def receive_request(specs: Sequence[TensorSpec], group_name: str) -> dict[str, Any]:
    """Returns the arguments of `update_weights_from_distributed`."""
    return {
        "names": [spec.name for spec in specs],
        "dtypes": [spec.dtype for spec in specs],
        "shapes": [list(spec.shape) for spec in specs],
        "group_name": group_name,
    }
