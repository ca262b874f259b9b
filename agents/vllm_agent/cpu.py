"""What vLLM needs to be told on a machine without a GPU."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch


def cpu_settings(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns engine options and environment variables for a machine without a GPU; both empty where there is one.

    Args:
        options: The caller's engine options, with `max_model_len`.

    Variables that are set already are left alone.
    """
    if torch.cuda.is_available() or torch.xpu.is_available():
        return {}, {}
    defaults = {
        # In GiB: vLLM's own default takes a large share of the machine, once an engine.
        "VLLM_CPU_KVCACHE_SPACE": "1",
        # vLLM would pin every engine's threads to the same cores; OMP_NUM_THREADS says how many there are.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        # A waiting thread sleeps at once. Spinning on a core that others need too makes vLLM 20 times slower.
        "KMP_BLOCKTIME": "0",
    }
    environment = {name: value for name, value in defaults.items() if name not in os.environ}
    settings = {
        # bfloat16 products are hundreds of times slower than float32 ones on CPUs without AMX or AVX-512.
        "dtype": "float32",
        # Compiling takes minutes.
        "enforce_eager": True,
        # A seeded request whose prompt is split over steps ends vLLM 0.32 ("CPU Generator does not use offset").
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(8192, options["max_model_len"]),
    }
    return settings, environment
