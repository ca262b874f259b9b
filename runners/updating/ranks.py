"""Several learners that make one optimizer step together: each is a rank of torch's default process group."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist

S = TypeVar("S")


def num_ranks() -> int:
    """Returns how many learners there are; 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Returns which of the learners this process is; 0 without a process group."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_rank_0() -> bool:
    """Returns whether this process speaks for all learners: it writes, sends and answers."""
    return rank() == 0


def over_ranks(combine: Callable[[S, S], S], part: S) -> S:
    """Returns every rank's part combined, the same on all of them; all must ask."""
    if num_ranks() == 1:
        return part
    parts: list[Any] = [None] * num_ranks()
    dist.all_gather_object(parts, part)
    return functools.reduce(combine, parts)


def sum_over_ranks(part: S) -> S:
    """Returns the sum of every rank's part, the same on all of them; all must ask."""
    return over_ranks(operator.add, part)


def sum_gradients(gradients: Sequence[torch.Tensor]) -> None:
    """Sums full gradients over the ranks, in place, in one all-reduce."""
    if num_ranks() == 1:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
