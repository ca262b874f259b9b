"""Handles of tensors for another process of this machine: shared memory for a CPU's, CUDA IPC for a GPU's.

PyTorch's own (`torch.multiprocessing.reductions`), which tie each handle to one opening: the sender counts a reference
when it packs and the receiver gives it back. So each receiver needs a payload of its own, and a tensor that was
received cannot be passed on: the payload itself must travel.
"""

from __future__ import annotations

import base64
import io
import pickle
import shutil
from collections.abc import Iterable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing
from torch.multiprocessing import reductions

_SHARED_MEMORY = Path("/dev/shm")
# Where `reductions.reduce_tensor` puts the index of a CUDA device, a number that means another GPU in a process that
# sees others. SGLang replaces it by the GPU's UUID in the same way.
_DEVICE = 6
_TYPES = (torch.Tensor, torch.Size, torch.UntypedStorage, torch.TypedStorage)
_REBUILD = ("rebuild_tensor", "rebuild_typed_storage", "rebuild_storage_filename")


def pack(named_tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """Returns handles of the tensors, in base64, to be opened once by one process of this machine.

    A tensor on the CPU moves to shared memory, where it stays: the sender goes on using it there.

    Raises:
        RuntimeError: If the shared memory is too small for them.
    """
    tensors = [(name, tensor.detach()) for name, tensor in named_tensors]
    _check_shared_memory([tensor for _, tensor in tensors])
    buffer = io.BytesIO()
    pickler = ForkingPickler(buffer, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table[torch.Tensor] = _reduce
    # The other strategy passes file descriptors, and only between processes that share a secret.
    strategy = multiprocessing.get_sharing_strategy()
    multiprocessing.set_sharing_strategy("file_system")
    try:
        pickler.dump(tensors)
    finally:
        multiprocessing.set_sharing_strategy(strategy)
    return base64.b64encode(buffer.getvalue()).decode()


def opened(payload: str) -> list[tuple[str, torch.Tensor]]:
    """Returns the tensors behind handles: the sender's own memory, to be copied from at once.

    Raises:
        ValueError: If the payload holds anything but tensors.
        RuntimeError: If the memory is not on this machine.
    """
    return _Unpickler(io.BytesIO(base64.b64decode(payload))).load()


def gpu_uuid(index: int) -> str:
    """Returns the UUID of a GPU, which is the same in every process."""
    return str(torch.cuda.get_device_properties(index).uuid)


def _reduce(tensor: torch.Tensor) -> tuple[Any, ...]:
    function, arguments, *_ = reductions.reduce_tensor(tensor)
    if tensor.is_cuda and isinstance(arguments[_DEVICE], int):
        arguments = (*arguments[:_DEVICE], gpu_uuid(arguments[_DEVICE]), *arguments[_DEVICE + 1 :])
    return function, arguments


def _rebuild_cuda_tensor(*arguments: Any) -> torch.Tensor:
    """Does what PyTorch's function of this name does, on the GPU that the UUID names."""
    uuid = arguments[_DEVICE]
    index = next((i for i in range(torch.cuda.device_count()) if gpu_uuid(i) == uuid), None)
    if index is None:
        raise RuntimeError(f"The weights lie on GPU {uuid}, which this process does not see.")
    rebuild: Any = reductions.rebuild_cuda_tensor
    return rebuild(*arguments[:_DEVICE], index, *arguments[_DEVICE + 1 :])


class _Unpickler(pickle.Unpickler):
    """Opens tensors and nothing else: a payload may have come over HTTP."""

    def find_class(self, module: str, name: str) -> Any:
        if module == reductions.__name__ and name in _REBUILD:
            return getattr(reductions, name)
        if module == reductions.__name__ and name == "rebuild_cuda_tensor":
            return _rebuild_cuda_tensor
        if module in ("torch", "torch.storage"):
            value = getattr(torch, name, None) or getattr(torch.storage, name, None)
            if isinstance(value, torch.dtype) or value in _TYPES:
                return value
        raise ValueError(f"Handles of tensors hold no {module}.{name}.")


def _check_shared_memory(tensors: list[torch.Tensor]) -> None:
    # Beyond its size, writing to shared memory ends the process without a word.
    size = sum(t.numel() * t.element_size() for t in tensors if t.device.type == "cpu" and not t.is_shared())
    if size and _SHARED_MEMORY.is_dir() and (free := shutil.disk_usage(_SHARED_MEMORY).free) < size:
        raise RuntimeError(
            f"The weights take {size / 2**30:.2f} GiB of shared memory and {_SHARED_MEMORY} has {free / 2**30:.2f} GiB "
            "left. Make it larger (docker run --shm-size), or use weight_transfer='object_store'."
        )
