"""What SGLang needs to be told on a machine without a GPU.

SGLang's own CPU engine wants AMX and kernels that PyPI does not carry. Its hook for platforms from outside (the entry
point group "sglang.srt.platforms") lets it run on PyTorch's own operators instead, on any CPU.
"""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import torch

PLATFORM = "gsm8k_env_cpu"
# Packages that SGLang imports and a CPU has no use for, on the path of its processes alone: see the one there.
STAND_INS = Path(__file__).parent / "stand_ins"


def activate() -> str | None:
    """Returns where SGLang finds the CPU platform; None where there is an accelerator, which it then uses."""
    if torch.cuda.is_available() or torch.xpu.is_available():
        return None
    return "agents.sglang_agent.cpu_platform:TorchCpuPlatform"


def cpu_settings() -> tuple[dict[str, Any], dict[str, str]]:
    """Returns engine options and environment variables for a machine without a GPU; both empty where there is one.

    Variables that are set already are left alone, but for PYTHONPATH, which is to go in front of what is set.
    """
    if activate() is None:
        return {}, {}
    defaults = {
        # The model is a local folder; nothing else is to be looked up.
        "HF_HUB_OFFLINE": "1",
        # The threads of several engines spinning on the same cores cost more than they bring.
        "OMP_NUM_THREADS": "1",
    }
    if any(point.name == PLATFORM for point in entry_points(group="sglang.srt.platforms")):
        defaults["SGLANG_PLATFORM"] = PLATFORM
    options = {
        "device": "cpu",
        "attention_backend": "torch_native",
        "disable_cuda_graph": True,
        # bfloat16 products are hundreds of times slower than float32 ones on CPUs without AMX or AVX-512.
        "dtype": "float32",
        # Without it SGLang takes a large share of the machine's memory for its cache.
        "max_total_tokens": 16_384,
    }
    environment = {name: value for name, value in defaults.items() if name not in os.environ}
    return options, {**environment, "PYTHONPATH": str(STAND_INS)}
