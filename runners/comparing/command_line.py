"""The command line of `python runners/compare.py`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from runners.comparing.bands import Band
from runners.comparing.differences import metrics_apart, metrics_table, told_apart
from runners.comparing.gates import Gate
from runners.comparing.records import RunRecord
from runners.support.parser import OneLineParser

DESCRIPTION = """Compares runs: `python runners/compare.py runs/A runs/B`.

Says which settings, problems, models and versions differ, up to which step the metrics are the same, and what they are
at the last step in common. A run of a preset that has a band (runners/presets/bands) is inside or outside of it."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the command line's options."""
    parser = OneLineParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of runs; the first is the measure")
    parser.add_argument(
        "--gate",
        action="append",
        default=[],
        metavar="'METRIC@STEP > NUMBER'",
        help="exit with 1 if a run does not pass; repeatable",
    )
    parser.add_argument("--write-band", metavar="PRESET", help="make a preset's band of these runs, a seed each")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code: 1 for a gate that a run does not pass, or a run outside its band."""
    args = parse_args(argv)
    try:
        gates = [Gate.parse(text) for text in args.gate]
        runs = [RunRecord.read(path) for path in args.runs]
        if args.write_band is not None:
            _check_band(args.write_band, len(runs))
            Band.of(runs).write(args.write_band)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    lines, failed = [], False
    if len(runs) > 1:
        fingerprints = [run.config["fingerprints"] for run in runs]
        settings = [{name: part for name, part in run.config.items() if name != "fingerprints"} for run in runs]
        lines += told_apart(settings, "settings") + told_apart(fingerprints, "problems and model")
        lines += told_apart([run.machine for run in runs], "versions and machine")
        lines += [metrics_apart(runs[0], other) for other in runs[1:]]
    lines += metrics_table(runs)
    for run in runs:
        if band := Band.read(run.config["preset"]):
            lines.append(verdict := band.verdict(run))
            failed = failed or "outside" in verdict
    for run in runs:
        for gate in gates:
            passed, line = gate.verdict(run)
            lines.append(line)
            failed = failed or not passed
    print("\n".join(lines))
    return int(failed)


def _check_band(preset: str, num_runs: int) -> None:
    """Refuses what is no name, and one run, which has no spread.

    Raises:
        ValueError: The message says what is allowed.
    """
    if not preset or Path(preset).name != preset:
        raise ValueError(f"--write-band {preset!r}: it must be the name of a preset.")
    if num_runs < 2:
        raise ValueError(f"--write-band {preset}: a band is made of two runs or more, a seed each.")
