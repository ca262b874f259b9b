"""Checks a set of weights before an engine sees it (a wrong tensor can kill one), and hands it over as a file."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file

from agents.weight_transfer import TensorSpec


def checked_weights(
    named_tensors: Iterable[tuple[str, torch.Tensor]], shapes: Mapping[str, tuple[int, ...]]
) -> list[tuple[str, torch.Tensor]]:
    """Returns the weights as a list once names, shapes and types fit.

    Args:
        named_tensors: Pairs of Hugging Face parameter name and floating-point tensor.
        shapes: Name -> shape of every parameter of the model, tied ones under one name.

    Raises:
        ValueError: For a repeated, unknown or missing name, a wrong shape, or a tensor that is not floating-point.
    """
    weights = list(named_tensors)
    names = [name for name, _ in weights]
    given = set(names)
    faults = (
        [f"{name}: given twice" for name in sorted({n for n in names if names.count(n) > 1})]
        if len(given) < len(names)
        else []
    )
    faults += [f"{name}: not a parameter of this model" for name in sorted(given - shapes.keys())]
    faults += [f"{name}: missing" for name in sorted(shapes.keys() - given)]
    for name, tensor in weights:
        if name in shapes and tuple(tensor.shape) != tuple(shapes[name]):
            faults.append(f"{name}: shape {tuple(tensor.shape)}, the model has {tuple(shapes[name])}")
        if not tensor.is_floating_point():
            faults.append(f"{name}: dtype {tensor.dtype} is not floating-point")
    if faults:
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise ValueError(f"These weights do not fit the model, nothing was changed: {shown}.")
    return weights


def check_specs(specs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Does what `checked_weights` does, before any weight travels. Raises as it does."""
    checked_weights(
        ((spec.name, torch.empty(spec.shape, dtype=getattr(torch, spec.dtype), device="meta")) for spec in specs),
        shapes,
    )


@contextmanager
def weights_folder(weights: Sequence[tuple[str, torch.Tensor]]) -> Iterator[Path]:
    """Writes the weights as `model.safetensors` into a folder that lives as long as the context.

    Every engine can read such a folder, over processes and, where it is shared, over machines; in memory (/dev/shm)
    it costs one copy. Set TMPDIR to a folder that a remote server sees as well.
    """
    size = sum(tensor.numel() * tensor.element_size() for _, tensor in weights)
    with tempfile.TemporaryDirectory(prefix="gsm8k_env-weights-", dir=_roomy_folder(size)) as folder:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights}
        save_file(tensors, Path(folder) / "model.safetensors", metadata={"format": "pt"})
        yield Path(folder)


def _roomy_folder(size: int) -> str | None:
    """Returns memory's folder where it holds `size` bytes twice over; None is the ordinary temporary folder."""
    memory = Path("/dev/shm")
    if "TMPDIR" in os.environ or not memory.is_dir() or shutil.disk_usage(memory).free < 2 * size:
        return None
    return str(memory)
