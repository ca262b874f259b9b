"""GPUs for an engine that shares the learners': which of its machine's an env runner takes."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO


class GPUClaim:
    """Takes the first `count` GPUs of this machine that no other env runner of this user has claimed.

    Ray counts the learners' GPUs only, so env runners come to terms by locks on files. The system lifts them with the
    process that holds them: what a killed env runner had is free for the next.

    Args:
        count: GPUs of an engine; blocks begin at its multiples.
        num_gpus: How many the machine has; where CUDA_VISIBLE_DEVICES is set, it names them instead.

    Attributes:
        gpus: What the engine may see, as CUDA_VISIBLE_DEVICES has it.

    Raises:
        RuntimeError: If every block is taken, or the machine has fewer.
    """

    def __init__(self, count: int, num_gpus: int) -> None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        everything = visible.split(",") if visible else [str(index) for index in range(num_gpus)]
        blocks = [everything[i : i + count] for i in range(0, len(everything) - count + 1, count)]
        folder = Path(tempfile.gettempdir()) / f"gsm8k_env-gpus-{os.getuid()}"
        folder.mkdir(exist_ok=True)
        for block in blocks:
            lock = _locked(folder / "-".join(block))
            if lock is not None:
                self.gpus, self._lock = ",".join(block), lock
                return
        raise RuntimeError(
            f"No {count} GPUs are free for an engine: this machine's are {', '.join(everything) or 'none'}, and other "
            f"env runners hold {len(blocks)} blocks of {count}. Lower num_env_runners, or spread the env runners over "
            "the machines: a custom resource of Ray per env runner does, as in launch/skypilot-32b.yaml."
        )


def _locked(path: Path) -> IO[str] | None:
    """Returns the file, locked, or None if another holds it."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
