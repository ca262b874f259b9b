"""The process of an entry's run, `python _entry_process.py TASK.json MODULE:FUNCTION`; its answer is entry.json."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _task import Task


def load_entry(place: str) -> Callable[[Task], Any]:
    """Returns the function at "module:function".

    Raises:
        ValueError: If it cannot be imported or is no function, in a sentence.
    """
    module, _, name = place.partition(":")
    try:
        entry = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise ValueError(f"The entry {place!r} cannot be imported: {error}.") from error
    if not callable(entry):
        raise ValueError(f"The entry {place!r}: {module} has no function {name!r}; write it as module:function.")
    return entry


def main() -> None:
    """Trains, and writes where the policy is."""
    import torch

    task = Task.read(Path(sys.argv[1]))
    torch.set_num_threads(task.threads)
    torch.manual_seed(task.seed)
    entry = load_entry(sys.argv[2])
    started = time.perf_counter()
    policy = Path(entry(task))
    if missing := [name for name in ("config.json", "model.safetensors") if not (policy / name).is_file()]:
        raise ValueError(f"The entry returned {policy}, which is no Hugging Face folder: {', '.join(missing)} missing.")
    returned = {"policy": str(policy.resolve()), "train_s": round(time.perf_counter() - started, 3)}
    (task.folder / "entry.json").write_text(json.dumps(returned), encoding="utf-8")


if __name__ == "__main__":
    main()
