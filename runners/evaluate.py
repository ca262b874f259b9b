"""Measures a model on GSM8K's problems: `python runners/evaluate.py`; `--help` lists the options.

Without options it evaluates the bundled model, greedily, on 200 built-in test problems. A run that was stopped goes on
when the same command is given again.
"""

import sys
from pathlib import Path

# `python runners/evaluate.py` puts runners/ on the path, where this file would hide the package `evaluate`. The root
# takes its place; an installed package needs neither.
_RUNNERS = Path(__file__).resolve().parent
sys.path[:] = [str(_RUNNERS.parent), *(entry for entry in sys.path if entry != str(_RUNNERS))]

try:
    import runners  # noqa: F401
except ImportError as error:  # another `agents` is in its place
    sys.exit(f"error: {error}")

from runners.evaluation.command_line import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
