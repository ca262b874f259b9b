"""Lets a CUDA build of torchvision be imported beside a CPU build of torch.

PyPI's torchvision for Linux is built for CUDA, and the engines depend on it. Its native part cannot be loaded without
CUDA, so its operators are never defined, and its Python part then fails on them at import ("operator torchvision::nms
does not exist"); transformers' models import torchvision where it is installed, so every model would fail too. Two
operator schemas are enough for the import; nothing here calls them.

`import torch` runs `define_torchvision_schemas` through the entry point group "torch.backends"
(https://docs.pytorch.org/tutorials/unstable/python_extension_autoload.html), in the engines' processes as well.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
from pathlib import Path
from typing import Any

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_CUDA_VERSION = re.compile(r"^__version__\s*=\s*['\"][^'\"]*\+cu\d", re.MULTILINE)
# The definitions last as long as this object.
_library: Any = None


def define_torchvision_schemas() -> None:
    """Defines the operators that torchvision's import looks up, where its own library cannot; else does nothing."""
    import torch

    global _library
    if torch.version.cuda is not None or torch.version.hip is not None or not _built_for_cuda("torchvision"):
        return
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        # Another package may have defined it.
        with contextlib.suppress(RuntimeError):
            _library.define(schema)


def _built_for_cuda(package: str) -> bool:
    """Returns whether the package is installed in a CUDA build, told from its version file without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return False
    version_file = Path(spec.origin).with_name("version.py")
    return version_file.is_file() and bool(_CUDA_VERSION.search(version_file.read_text()))
