"""SGLang without a GPU: what its processes find on their path, and nobody else's do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from agents.sglang_agent.cpu import cpu_settings

IMPORTS = """
import torchvision.transforms.v2.functional
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import InterpolationMode, functional
from torchvision.transforms.functional import InterpolationMode as same, pil_to_tensor
from transformers import LlamaForCausalLM, image_utils
print(torchvision.__file__)
"""


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has SGLang's own platform")
def test_its_processes_have_a_torchvision_to_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    path = cpu_settings()[1]["PYTHONPATH"]
    run = subprocess.run(
        [sys.executable, "-c", IMPORTS], env={"PYTHONPATH": path}, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert Path(run.stdout.strip()).is_relative_to(path)
