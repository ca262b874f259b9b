"""What a GPU is called, what it can do at most, and how much of its memory is in use."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading

# Dense bfloat16 TFLOP/s of the makers' data sheets, without sparsity. The first name found in the device's counts.
PEAK_TFLOPS = {
    "H200": 989.0,
    "H100 NVL": 835.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "A10G": 70.0,
    "A10": 125.0,
    "RTX 4090": 165.2,
    "RTX 3090": 71.0,
}


def peak_tflops(device_name: str, given: float | None) -> float | None:
    """Returns the device's dense bfloat16 peak in TFLOP/s: as given, else of the table, else None.

    >>> peak_tflops("NVIDIA H100 PCIe", None), peak_tflops("NVIDIA RTX A1000", None), peak_tflops("any", 5.0)
    (756.0, None, 5.0)
    """
    if given is not None:
        return given
    return next((peak for name, peak in PEAK_TFLOPS.items() if re.search(rf"\b{name}\b", device_name)), None)


def used_mib() -> int | None:
    """Returns the memory in use on the first GPU, in MiB, by every process; None where there is no nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True)
    return int(done.stdout) if done.returncode == 0 else None


class DeviceMemory:
    """Reads the device's used memory every half second, until stopped.

    Attributes:
        before, peak: MiB in use at the start, and the most seen; None where there is no nvidia-smi.
    """

    def __init__(self) -> None:
        self.before = self.peak = used_mib()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> DeviceMemory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while self.peak is not None and not self._stop.wait(0.5):
            self.peak = max(self.peak, used_mib() or 0)
