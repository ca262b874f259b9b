"""The command line of `python runners/replay.py`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from agents.models import resolve_model
from runners.replaying.dumps import Dump, Outcome
from runners.rllib import cluster
from runners.run_options import build_config
from runners.run_settings import ResourceSettings
from runners.settings import AGENT_NOUNS
from runners.support.assignments import assignments
from runners.support.errors import UserError, users_mistakes
from runners.support.parser import OneLineParser
from runners.support.quiet import quiet_libraries
from runners.support.settings import fields_of, from_mapping

DESCRIPTION = """Does a dumped step again: `python runners/replay.py runs/NAME --step 7`.

Without changes weights and statistics must be those of the run, to the bit (with as many learners; exit code 1 if they
are not). With changes (another loss, lr, minibatch, number of learners) it shows what differs."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the command line's options."""
    parser = OneLineParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("--step", type=int, required=True, help="a step that --dump-steps kept")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another setting; repeatable")
    parser.add_argument("--num-learners", type=int, help="another number of processes that update")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    args = parse_args(argv)
    quiet_libraries()
    try:
        with users_mistakes():
            settings, dump = _changed_settings(args), Dump.read(_dump(args))
            _check(settings, dump)
        changed = bool(args.set) or args.num_learners is not None
        then, now = dump.outcome, replay(settings, dump)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        cluster.shut_down()
    lines = differences(then, now)
    counted = f"{len(then.statistics)} statistics and {len(then.weights)} weights"
    print(f"step {args.step} of {args.run}: " + (f"{counted} are the same to the bit" if not lines else "it differs"))
    print("\n".join(lines), end="\n" if lines else "")
    return 1 if lines and not changed else 0


def replay(settings: dict[str, Any], dump: Dump) -> Outcome:
    """Returns what comes of the dumped step's rollouts under these settings.

    Raises:
        UserError: For settings that Ray or the learners cannot take.
    """
    from runners.replaying.learner_only import LearnerOnly

    with users_mistakes():
        cluster.start(from_mapping(ResourceSettings, settings["resources"]))
        algo = LearnerOnly(build_config(settings))
        algo.restore_learners(dump.checkpoint, dump.num_env_steps_sampled)
    algo.learn(dump.rollouts, iteration=dump.iteration)
    outcome = Outcome.of(algo)
    algo.stop()
    return outcome


def differences(then: Outcome, now: Outcome) -> list[str]:
    """Returns a line for each statistic that differs, and one for the weights; none if all are the same."""
    lines = []
    for name in sorted({*then.statistics, *now.statistics}):
        old, new = then.statistics.get(name), now.statistics.get(name)
        if old != new:
            change = f"{new - old:+.3g}" if old is not None and new is not None else ""
            lines.append(f"  {name:28} {_shown(old)} -> {_shown(new)}  {change}".rstrip())
    apart = sum(now.weights.get(name) != digest for name, digest in then.weights.items())
    return lines + ([f"  {apart} of {len(then.weights)} weights differ"] if apart else [])


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.8g}"


def _check(settings: dict[str, Any], dump: Dump) -> None:
    """Refuses settings that are wrong, or of another batch.

    Raises:
        ValueError: The message says what is allowed.
    """
    config = build_config(settings)
    config.check()
    resolve_model(config.policy_model)
    if config.num_prompts * config.group_size != len(dump.rollouts):
        raise ValueError(
            f"num_prompts={config.num_prompts} with group_size={config.group_size}, but the step was dumped with "
            f"{len(dump.rollouts)} sequences: leave both as they were."
        )


def _changed_settings(args: argparse.Namespace) -> dict[str, Any]:
    from runners.replaying.learner_only import learner_settings

    settings = learner_settings(args.run)
    if args.num_learners is not None:
        settings["resources"]["num_learners"] = args.num_learners
    changes = assignments(args.set, "--set")
    of_agents = fields_of(AGENT_NOUNS)
    settings["agents"] |= {name: value for name, value in changes.items() if name in of_agents}
    settings["training"] |= {name: value for name, value in changes.items() if name not in of_agents}
    return settings


def _dump(args: argparse.Namespace) -> Path:
    folder = args.run / "dumps"
    dump = folder / f"step_{args.step:06d}"
    if not (dump / "outcome.json").is_file():
        kept = ", ".join(str(int(path.name[5:])) for path in sorted(folder.glob("step_*"))) or "none"
        raise UserError(f"--step {args.step}: no dump of it in {args.run}, of these: {kept}. See --dump-steps.")
    return dump
