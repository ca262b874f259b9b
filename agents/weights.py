"""What a set of weights is before it travels, whether it fits a model, and how it becomes a file."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

WEIGHTS_FILE = "model.safetensors"
ADAPTER_FILE = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """A parameter before it travels.

    Attributes:
        name: Its Hugging Face name.
        dtype: As torch spells it, "float32" or "bfloat16".
        shape: Its shape.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, name: str, tensor: torch.Tensor | np.ndarray) -> TensorSpec:
        """Returns what a tensor is."""
        return cls(name=name, dtype=str(tensor.dtype).removeprefix("torch."), shape=tuple(tensor.shape))


def check_specs(specs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuses weights that do not fit a model, before an engine sees them: a wrong tensor can kill one.

    Args:
        specs: What is to come.
        shapes: Name -> shape of every parameter of the model, tied ones under one name.

    Raises:
        ValueError: For a repeated, unknown or missing name, a wrong shape, or a type that is not floating-point.
    """
    given = Counter(spec.name for spec in specs)
    faults = [f"{name}: given twice" for name, count in sorted(given.items()) if count > 1]
    faults += [f"{name}: not a parameter of this model" for name in sorted(given.keys() - shapes.keys())]
    faults += [f"{name}: missing" for name in sorted(shapes.keys() - given.keys())]
    for spec in specs:
        if spec.name in shapes and spec.shape != tuple(shapes[spec.name]):
            faults.append(f"{spec.name}: shape {spec.shape}, the model has {tuple(shapes[spec.name])}")
        if "float" not in spec.dtype:
            faults.append(f"{spec.name}: dtype {spec.dtype} is not floating-point")
    if faults:
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise ValueError(f"These weights do not fit the model, nothing was changed: {shown}.")


@contextmanager
def weights_folder(weights: Sequence[tuple[str, torch.Tensor]], file: str = WEIGHTS_FILE) -> Iterator[Path]:
    """Writes the weights as a safetensors file into a folder that lives as long as the context.

    Every engine can read such a folder, over processes and, where it is shared, over machines; in memory (/dev/shm)
    it costs one copy of each that is on the CPU. Set TMPDIR to a folder that a remote server sees as well.
    """
    size = sum(tensor.numel() * tensor.element_size() for _, tensor in weights)
    with tempfile.TemporaryDirectory(prefix="gsm8k_env-weights-", dir=_roomy_folder(size)) as folder:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights}
        save_file(tensors, Path(folder) / file, metadata={"format": "pt"})
        yield Path(folder)


def _roomy_folder(size: int) -> str | None:
    """Returns memory's folder where it holds `size` bytes twice over; None is the ordinary temporary folder."""
    memory = Path("/dev/shm")
    if "TMPDIR" in os.environ or not memory.is_dir() or shutil.disk_usage(memory).free < 2 * size:
        return None
    return str(memory)
