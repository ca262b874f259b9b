"""Compares runs: `python runners/compare.py runs/A runs/B`; `--help` lists the options."""

import sys
from pathlib import Path

# `python runners/compare.py` puts runners/ on the path, where evaluate.py would hide the package `evaluate`. The root
# takes its place; an installed package needs neither.
_RUNNERS = Path(__file__).resolve().parent
sys.path[:] = [str(_RUNNERS.parent), *(entry for entry in sys.path if entry != str(_RUNNERS))]

from runners.comparing.command_line import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
