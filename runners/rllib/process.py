"""What torch is told in a process that computes."""

from __future__ import annotations

import torch


def prepare_torch(num_threads: int | None) -> None:
    """Sets the number of threads, None leaving torch's choice, and leaves fresh memory as it is.

    RLlib has torch compute deterministically where there is a seed, and torch then fills every tensor that nobody has
    written yet: 4 % of a step, for the sake of code that would read it.
    """
    if num_threads:
        torch.set_num_threads(num_threads)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
