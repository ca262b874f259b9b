"""Makes the report of a run or of an evaluation: `python runners/report.py runs/NAME`; `--help` lists the options."""

import sys
from pathlib import Path

# `python runners/report.py` puts runners/ on the path, where evaluate.py would hide the package `evaluate`. The root
# takes its place; an installed package needs neither.
_RUNNERS = Path(__file__).resolve().parent
sys.path[:] = [str(_RUNNERS.parent), *(entry for entry in sys.path if entry != str(_RUNNERS))]

from runners.reporting.command_line import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
