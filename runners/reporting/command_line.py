"""The command line of `python runners/report.py`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from runners.reporting.evaluation_report import write_evaluation_report
from runners.reporting.run_report import write_run_report
from runners.support.parser import OneLineParser

DESCRIPTION = """Makes report.html of a run or of an evaluation: `python runners/report.py runs/NAME`.

A finished run has written its own. This one makes it anew, of a killed run and of one that still goes on too, and reads
the folder alone. The file needs nothing beside it, and no network."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the command line's options."""
    parser = OneLineParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a run, or of an evaluation by runners/evaluate.py")
    parser.add_argument(
        "--score-dumps",
        action="store_true",
        help="first have the learner score the tokens of the steps of --dump-steps, for rollout_logprob_diff of each",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    args = parse_args(argv)
    is_run, is_evaluation = ((args.run / name).is_file() for name in ("config.yaml", "results.json"))
    try:
        if not is_run and not is_evaluation:
            raise ValueError(
                f"There is neither a run (config.yaml) nor a scored evaluation (results.json) in {args.run}."
            )
        if args.score_dumps:
            _score_dumps(args.run)
        print(f"report: {write_run_report(args.run) if is_run else write_evaluation_report(args.run)}")
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _score_dumps(run: Path) -> None:
    from runners.replaying.scored_dumps import score_dumps
    from runners.rllib import cluster

    try:
        score_dumps(run, print)
    finally:
        cluster.shut_down()
