"""Where an agent takes weights from: arrays, a file, handles of memory, a broadcast, or an adapter beside its own.

Every source says what it holds before it travels, and gives plain tensors to whoever wants them. These are copied from
at once and never written to: they may be the learner's own memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from agents.tensor_handles import opened
from agents.weight_group import GroupMember, WeightGroup
from agents.weights import ADAPTER_FILE, WEIGHTS_FILE, TensorSpec

# This process's place in the broadcasts it takes: a process holds one engine.
_member = GroupMember()


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSource:
    """Weights on their way to an engine.

    Attributes:
        specs: What they are, in their order.
    """

    specs: tuple[TensorSpec, ...]

    def tensors(self, worker: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields name and tensor of each, to the engine's process number `worker`."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrays(WeightSource):
    """Weights in this process, or in Ray's object store; `arrays`, one a spec, may be read-only."""

    arrays: tuple[np.ndarray | torch.Tensor, ...]

    @classmethod
    def of(cls, named: Iterable[tuple[str, np.ndarray | torch.Tensor]]) -> Arrays:
        """Returns the source of pairs of a Hugging Face parameter name and an array."""
        pairs = list(named)
        return cls(specs=tuple(TensorSpec.of(*pair) for pair in pairs), arrays=tuple(array for _, array in pairs))

    def tensors(self, worker: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields each; the arrays' own memory."""
        for spec, array in zip(self.specs, self.arrays, strict=True):
            # Through DLPack, since `torch.from_numpy` warns of read-only memory.
            yield spec.name, array.detach() if isinstance(array, torch.Tensor) else torch.from_dlpack(array)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile(WeightSource):
    """A safetensors file in `folder`, which the engine sees too; see `agents.weights.weights_folder`."""

    folder: str

    def tensors(self, worker: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields each, mapped from the file."""
        yield from _mapped(Path(self.folder) / WEIGHTS_FILE, self.specs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handles(WeightSource):
    """The learner's own memory, for one engine on the same machine.

    Attributes:
        payloads: [W] for each of the engine's workers what `agents.tensor_handles.pack` returned. Each is opened once,
            by the process that copies from it, since received memory cannot be passed on.
    """

    payloads: tuple[str, ...]

    def tensors(self, worker: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields each; the learner's memory."""
        yield from opened(self.payloads[worker])


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast(WeightSource):
    """What the learner broadcasts in a group, while it does: one broadcast a spec, in their order.

    Attributes:
        group: In which group. A process that is not in it joins it first, and leaves the one it was in.
    """

    group: WeightGroup

    def tensors(self, worker: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields each as it arrives. Raises as `WeightChannel` does."""
        yield from _member.channel(self.group, self.group.first_rank + worker).receive(self.specs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter(WeightSource):
    """A low-rank adapter, for an engine that holds the base model; `specs` are the adapter's, as peft names them.

    Attributes:
        weights: Where its tensors are.
        config: What peft writes to adapter_config.json.
    """

    weights: WeightSource
    config: Mapping[str, Any]

    def tensors(self, worker: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields each of the adapter's; they are no weights of the model."""
        yield from self.weights.tensors(worker)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFolder(WeightSource):
    """An adapter in a folder that the engine sees too, as `peft.PeftModel.from_pretrained` loads it."""

    folder: str

    def tensors(self, worker: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields each of the adapter's, mapped from the file."""
        yield from _mapped(Path(self.folder) / ADAPTER_FILE, self.specs)


def _mapped(path: Path, specs: Iterable[TensorSpec]) -> Iterator[tuple[str, torch.Tensor]]:
    with safe_open(path, "pt") as file:
        for spec in specs:
            yield spec.name, file.get_tensor(spec.name)


RemoteWeights = WeightsFile | Handles | Broadcast
RemoteSource = RemoteWeights | AdapterFolder


def to_json(source: RemoteWeights) -> dict[str, Any]:
    """Returns the source for an engine behind JSON; `from_json` is the way back."""
    return asdict(source)


def from_json(fields: Mapping[str, Any]) -> RemoteWeights:
    """Returns the source that `to_json` wrote."""
    specs = tuple(
        TensorSpec(name=spec["name"], dtype=spec["dtype"], shape=tuple(spec["shape"])) for spec in fields["specs"]
    )
    if "folder" in fields:
        return WeightsFile(specs=specs, folder=fields["folder"])
    if "payloads" in fields:
        return Handles(specs=specs, payloads=tuple(fields["payloads"]))
    return Broadcast(specs=specs, group=WeightGroup(**fields["group"]))
