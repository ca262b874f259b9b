"""The platform that `agents.sglang_agent.cpu.activate` names: PyTorch's operators, no kernels of SGLang's own.

The interface is SGLang's (`sglang.srt.platforms.interface.SRTPlatform`, 0.5.23).
"""

from __future__ import annotations

from typing import Any

from sglang.srt.platforms.cpu import CpuDeviceMixin
from sglang.srt.platforms.device_mixin import PlatformEnum
from sglang.srt.platforms.interface import PlatformCapabilities, SRTPlatform


class TorchCpuPlatform(CpuDeviceMixin, SRTPlatform):
    """Any CPU that PyTorch runs on."""

    # As the in-tree CPU platform SGLang would look for its AMX kernels.
    _enum = PlatformEnum.OOT
    device_name = device_type = "cpu"
    # All off: no Triton, no graphs, no kernels of the cache.
    capabilities = PlatformCapabilities()

    def get_default_attention_backend(self) -> str:
        """Names the attention that is written in PyTorch alone."""
        return "torch_native"

    def get_dispatch_key_name(self) -> str:
        """Chooses `forward_native`, the plain PyTorch form of every layer."""
        return "native"

    def is_pin_memory_available(self, device: Any = None) -> bool:
        """Pinned memory is for copies to a GPU."""
        return False
