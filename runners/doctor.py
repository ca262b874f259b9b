"""Says what is wrong with an installation, and how to mend it: `python runners/doctor.py`; `--help` says more."""

import sys
from pathlib import Path

# `python runners/doctor.py` puts runners/ on the path, where evaluate.py would hide the package `evaluate`. The root
# takes its place; an installed package needs neither. The package `runners` is not imported: that may be what is wrong.
_RUNNERS = Path(__file__).resolve().parent
sys.path[:] = [str(_RUNNERS.parent), *(entry for entry in sys.path if entry != str(_RUNNERS))]

from gsm8k_cli.doctor.command_line import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
