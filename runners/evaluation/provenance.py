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
_PACKAGES = ("gsm8k-env", "gymnasium", "numpy", "datasets", "torch", "transformers", "safetensors", "vllm", "sglang")


def provenance(argv: Sequence[str]) -> dict[str, Any]:
    """Returns command, time, commit, versions and threads of this process.

    Args:
        argv: The command line's arguments.
    """
    torch = sys.modules.get("torch")
    return {
        "command": shlex.join(["python", "runners/evaluate.py", *argv]),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": _versions(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads() if torch is not None else None,
    }


def _commit() -> str | None:
    """The commit's hash, with "-dirty" where tracked files differ from it; None where this is no checkout."""
    if not (_ROOT / ".git").exists():
        return None  # installed: a repository around it would be another project's
    try:
        commit = _git("rev-parse", "HEAD")
        return commit + ("-dirty" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


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
