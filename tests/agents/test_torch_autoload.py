"""The stand-in for torchvision's operators: only where it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import torch
from agents.torch_autoload import define_torchvision_schemas
{before}
define_torchvision_schemas()
define_torchvision_schemas()
print(hasattr(torch.ops.torchvision, "nms"))
"""


def defined(path: Path, before: str = "") -> bool:
    """Whether the operator is there, in a fresh process without entry points that sees `path` first."""
    code = f"import sys; sys.path.insert(0, {str(path)!r})\n{CODE.format(before=before)}"
    environment = {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0", "PYTHONPATH": ":".join(filter(None, sys.path))}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return run.stdout.strip() == "True"


def fake_torchvision(folder: Path, version: str) -> Path:
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "torchvision" / "version.py").write_text(f"__version__ = {version!r}\ngit_version = 'abc'\n")
    return folder


@pytest.mark.parametrize(("version", "expected"), [("0.28.0+cu130", True), ("0.28.0+cpu", False), ("0.28.0", False)])
def test_only_beside_a_cuda_build(tmp_path: Path, version: str, expected: bool) -> None:
    before = "torch.version.cuda = torch.version.hip = None"
    assert defined(fake_torchvision(tmp_path, version), before) == expected


def test_not_where_torch_has_cuda(tmp_path: Path) -> None:
    assert not defined(fake_torchvision(tmp_path, "0.28.0+cu130"), "torch.version.cuda = '13.0'")


def test_operators_that_are_there_already_are_left_alone(tmp_path: Path) -> None:
    before = (
        "torch.version.cuda = torch.version.hip = None; other = torch.library.Library('torchvision', 'FRAGMENT'); "
        "other.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')"
    )
    assert defined(fake_torchvision(tmp_path, "0.28.0+cu130"), before)
