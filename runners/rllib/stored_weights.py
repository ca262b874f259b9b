"""Weights in Ray's object store, as a source that an engine loads from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import ray
import torch

from agents.weight_sources import Arrays, WeightSource


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWeights(WeightSource):
    """Arrays in the object store: one copy for all engines of a machine, which read it where it lies.

    Attributes:
        reference: Of the `Arrays`.
    """

    reference: ray.ObjectRef

    def tensors(self, worker: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields each; read-only memory of the store."""
        yield from ray.get(self.reference).tensors(worker)


def store(arrays: Arrays) -> StoredWeights:
    """Puts arrays into the object store."""
    return StoredWeights(specs=arrays.specs, reference=ray.put(arrays))
