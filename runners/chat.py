"""Asks a trained policy: `python runners/chat.py runs/NAME "What is 2 + 2?"`; `--help` lists the options."""

import os
import sys
from pathlib import Path

# `python runners/chat.py` puts runners/ on the path, where evaluate.py would hide the package `evaluate`. The root
# takes its place; an installed package needs neither. The current folder comes last, for an agent of the user's own.
_RUNNERS = Path(__file__).resolve().parent
sys.path[:] = [str(_RUNNERS.parent), *(entry for entry in sys.path if entry != str(_RUNNERS)), os.getcwd()]

try:
    import runners  # noqa: F401
except ImportError as error:  # another `agents` is in its place
    sys.exit(f"error: {error}")

from runners.chatting.command_line import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
