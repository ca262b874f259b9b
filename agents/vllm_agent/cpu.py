"""What vLLM needs to be told on a machine without a GPU."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch


def cpu_settings(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns engine options and environment variables for a machine without a GPU; both empty where there is one.

    Args:
        options: The caller's engine options.

    Variables that are set already are left alone.
    """
    if torch.cuda.is_available() or torch.xpu.is_available():
        return {}, {}
    defaults = {
        # In GiB: vLLM's own default takes a large share of the machine, once an engine.
        "VLLM_CPU_KVCACHE_SPACE": "1",
        # vLLM would pin every engine's threads to the same cores; OMP_NUM_THREADS says how many there are.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
    environment = {name: value for name, value in defaults.items() if name not in os.environ}
    # bfloat16 products are hundreds of times slower than float32 ones on CPUs without AMX or AVX-512; compiling takes
    # minutes.
    return {"dtype": "float32", "enforce_eager": True}, environment
