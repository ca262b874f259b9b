"""The machine: GPUs, shared memory, ports."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from gsm8k_cli.doctor.finding import Finding
from gsm8k_cli.doctor.requirements import installed_version

_SHARED_MEMORY = Path("/dev/shm")
# Ray's store of objects has 75 MiB at least (ray_constants.OBJECT_STORE_MINIMUM_MEMORY_BYTES), and Docker gives 64.
_LEAST_BYTES = 128 * 2**20
# The weights of a model of half a billion parameters in float32, which travel to an engine through it.
_ENOUGH_BYTES = 2 * 2**30
# Of launch/node.sh: where the first of several nodes listens.
_NODES_PORT = 6380


def gpus(seen: Sequence[tuple[str, int]]) -> Iterator[Finding]:
    """Looks at the GPUs.

    Args:
        seen: Of each that torch sees, its name and its memory in bytes.
    """
    if seen:
        found = ", ".join(f"{name} ({size / 2**30:.0f} GiB)" for name, size in seen)
        yield Finding(name="GPUs", state="ok", found=found)
    elif there := _driver_gpus():
        torch = installed_version("torch")
        yield Finding(
            name="GPUs",
            state="note",
            found=f"the driver has {', '.join(there)}, but torch {torch or '(not installed)'} sees none",
            mend="a build of torch for CUDA: pip install --force-reinstall torch, and CUDA_VISIBLE_DEVICES unset",
        )
    else:
        yield Finding(name="GPUs", state="note", found="none: small models train on the CPU")


def shared_memory() -> Iterator[Finding]:
    """Looks at the size of /dev/shm."""
    if not _SHARED_MEMORY.is_dir():
        yield Finding(name="shared memory", state="note", found=f"no {_SHARED_MEMORY}: weights travel through files")
        return
    usage = shutil.disk_usage(_SHARED_MEMORY)
    found = f"{_SHARED_MEMORY} has {_size(usage.total)}, {_size(usage.free)} of it free"
    mend = "docker run --shm-size=8g, or mount -o remount,size=8g /dev/shm"
    if usage.free < _LEAST_BYTES:
        found += f"; Ray and the weights need {_size(_LEAST_BYTES)} at least"
        yield Finding(name="shared memory", state="wrong", found=found, mend=mend)
    elif usage.free < _ENOUGH_BYTES:
        found += ": enough for small models"
        yield Finding(name="shared memory", state="note", found=found, mend=mend)
    else:
        yield Finding(name="shared memory", state="ok", found=found)


def ports() -> Iterator[Finding]:
    """Looks whether processes of this machine reach each other, as Ray's and the engines' must."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=3).close()
    except OSError as error:
        yield Finding(
            name="ports",
            state="wrong",
            found=f"no connection on 127.0.0.1: {error}",
            mend="let processes listen there (ip link set lo up; a sandbox's or firewall's settings)",
        )
        return
    try:
        socket.create_server(("127.0.0.1", _NODES_PORT)).close()
    except OSError:
        yield Finding(
            name="ports",
            state="note",
            found=f"127.0.0.1 is open; port {_NODES_PORT} is taken",
            mend="NODES_PORT=PORT, where launch/node.sh starts several machines",
        )
    else:
        yield Finding(name="ports", state="ok", found="127.0.0.1 is open")


def _driver_gpus() -> list[str]:
    """Returns the names of the GPUs that NVIDIA's driver has."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        done = subprocess.run(
            [command, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else []


def _size(number: int) -> str:
    return f"{number / 2**20:.0f} MiB" if number < 2**30 else f"{number / 2**30:.1f} GiB"
