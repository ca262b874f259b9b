"""Fine-tunes a language model on the solutions of problems: `python runners/sft.py`; `--help` lists the options."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# `python runners/sft.py` puts runners/ on the path, where evaluate.py would hide the package `evaluate`. The root
# takes its place; an installed package needs neither. The current folder comes last, for modules of the user's own.
_RUNNERS = Path(__file__).resolve().parent
sys.path[:] = [str(_RUNNERS.parent), *(entry for entry in sys.path if entry != str(_RUNNERS)), os.getcwd()]

# Threads that wait for each other sleep instead of spinning: on an idle machine it costs a twentieth of a step, on a
# shared one spinning can cost ten times the step. OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

try:
    import runners  # noqa: F401
except ImportError as error:  # another `agents` is in its place
    sys.exit(f"error: {error}")

from runners.training import command_line  # noqa: E402
from runners.training.trainers import SFT  # noqa: E402


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return command_line.main(SFT, argv)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
