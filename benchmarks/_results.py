"""Where benchmark figures go: ``results/<name>.json``, each with the command, commit and versions that made it."""

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

_PACKAGES = (
    "gymnasium", "numpy", "datasets", "torch", "transformers", "safetensors", "ray", "trl", "vllm", "sglang",
)  # fmt: skip


def write_results(name: str, figures: dict[str, Any]) -> Path:
    """Writes a benchmark's figures to ``benchmarks/results/<name>.json`` and returns the path.

    Args:
        name: The file's name without its suffix, as a rule the script's.
        figures: The figures, as JSON values; a figure's key says its unit.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    draft = path.with_suffix(".json.tmp")
    draft.write_text(json.dumps({**environment(), "figures": figures}, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)
    return path


def environment() -> dict[str, Any]:
    """Returns what figures need beside them: command, git commit, versions, processor and threads."""
    return {
        "command": _command(),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": _versions(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cpu_count": os.cpu_count(),
        "threads": _threads(),
    }


def _command() -> str:
    root = RESULTS.parent.parent
    script = os.path.relpath(Path(sys.argv[0]).resolve(), root)
    return shlex.join(["python", script, *sys.argv[1:]])


def _commit() -> str:
    """Returns the commit's hash, with "-dirty" behind it where tracked files other than results differ from it."""
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--", ".", ":(exclude)benchmarks/results")
    except (OSError, subprocess.CalledProcessError):
        return "unknown (not a git checkout)"
    return commit + ("-dirty" if changed else "")


def _git(*arguments: str) -> str:
    root = RESULTS.parent.parent
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
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
