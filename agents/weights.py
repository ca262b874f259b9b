"""Checks a set of weights against a model before an engine sees it: a wrong tensor can kill an engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch


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
    faults = [f"{name}: given twice" for name in sorted({n for n in names if names.count(n) > 1})] if len(
        given
    ) < len(names) else []
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
