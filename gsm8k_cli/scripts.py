"""The installed commands `gsm8k-grpo` and so on: each is the `main` of a script of runners/.

runners/ is imported by name, once a command is called: the light installation has the commands too, and another package
of the name `agents` keeps all of it from being imported.
"""

from __future__ import annotations

import importlib
import sys
from functools import partial

_OWN = ("gsm8k_cli", "runners", "agents", "gsm8k_env")


def run(script: str) -> int:
    """Runs runners/SCRIPT.py with this process's arguments; returns the exit code.

    What keeps it from being imported is one line: a missing package of the extra "train", or another `agents`.
    """
    try:
        return importlib.import_module(f"runners.{script}").main()
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in _OWN:
            raise
        print(f"error: gsm8k-{script} needs the package {package!r}: pip install 'gsm8k-env[train]'", file=sys.stderr)
    except ImportError as error:
        print(f"error: {error}", file=sys.stderr)
    return 1


grpo = partial(run, "grpo")
sft = partial(run, "sft")
evaluate = partial(run, "evaluate")
compare = partial(run, "compare")
replay = partial(run, "replay")
report = partial(run, "report")
chat = partial(run, "chat")
