"""The command line of `runners/grpo.py`: its options, the run's complete settings, and their `GRPOConfig`."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import os
import sys
import typing
from pathlib import Path
from typing import Any

from runners.objectives.algorithms import command_line_help
from runners.presets.loading import load_preset, preset_names
from runners.run_settings import ResourceSettings, RunSettings
from runners.settings import AGENT_NOUNS, RUN_NOUNS, TRAINING_NOUNS, algorithm_settings
from runners.support.assignments import assignments
from runners.support.parser import OneLineParser
from runners.support.settings import fields_of, from_mapping, tables

_DESCRIPTION = """Trains a language model with GRPO: `python runners/grpo.py`.

Without options it trains the bundled model on built-in problems, which takes a few minutes on two CPU cores."""
DEFAULT_PRESET = "tiny"


class SettingsHelp(argparse.Action):
    """Prints the tables of docs/settings.md."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *arguments: Any) -> None:
        """Prints and exits."""
        print(tables((*RUN_NOUNS, *AGENT_NOUNS, *TRAINING_NOUNS)))
        parser.exit()


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the command line's options, and all of it as `argv`; None stands for the preset's value."""
    parser = OneLineParser(
        description=_DESCRIPTION,
        epilog=f"algorithms (docs/algorithms.md):\n{command_line_help()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--preset", help=f"{', '.join(preset_names())}, or a .yaml file (default: {DEFAULT_PRESET})")
    parser.add_argument(
        "--algorithm",
        metavar="NAME",
        help="one of those below: sets advantage, loss, aggregation and KL over the preset's; --set goes over it",
    )
    parser.add_argument("--model", help="tiny, smollm2-135m, a folder, or a hub id")
    parser.add_argument("--engine", help="transformers, or any agent registered under a name")
    parser.add_argument("--env", help="a Gymnasium id; its observations and actions are texts")
    parser.add_argument("--dataset", help="short for --env-option dataset=...: auto, builtin:1-2, a path, a hub id")
    for option, help_ in (
        ("--engine-option", "passed to the engine; repeatable"),
        ("--env-option", "passed to gym.make; repeatable"),
        ("--eval-env-option", "the same for evaluation alone, such as split=test"),
        ("--set", "any setting of --help-settings; repeatable"),
    ):
        parser.add_argument(option, action="append", default=[], metavar="NAME=VALUE", help=help_)
    for name, kind in _OWN_OPTIONS.items():
        field = fields_of(RUN_NOUNS)[name]
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=field.metadata["meaning"])
    parser.add_argument("--num-threads", type=int, help="torch threads of each process (default: cores / processes)")
    parser.add_argument("--help-settings", action=SettingsHelp, help="show every setting and exit")
    parser.add_argument("--seed", type=int, help="default: 0")
    parser.add_argument("--name", help="name of the run (default: preset, seed and time)")
    parser.add_argument("--runs-dir", type=Path, help="default: runs")
    parser.add_argument(
        "--resume", metavar="FOLDER", help="go on with the run of this folder, from its last whole checkpoint"
    )
    args = parser.parse_args(argv)
    args.argv = sys.argv[1:] if argv is None else argv
    return args


def run_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Returns a new run's settings: the preset, over it the algorithm, over that the command line.

    Raises:
        ValueError: For an option that is not NAME=VALUE, or an unknown preset or algorithm.
    """
    name = DEFAULT_PRESET if args.preset is None else args.preset
    settings = {"preset": name, "seed": 0, **load_preset(name)}
    del settings["description"]
    settings = with_options(settings, args)
    resources = settings["resources"]
    processes = 1
    for option in ("num_env_runners", "num_learners"):
        if isinstance(number := resources.get(option, 0), int):  # any other is refused when it is checked
            processes *= max(1, number)
    settings["agents"].setdefault("num_threads", max(1, (os.cpu_count() or 1) // processes))
    return settings


def with_options(settings: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Returns a copy of settings with the command line's over them.

    Raises:
        ValueError: For an option that is not NAME=VALUE, or an unknown algorithm.
    """
    settings = copy.deepcopy(settings)
    settings |= given(args, ("preset", "seed"))
    if args.env not in (None, settings["environment"]):  # the options are for the environment before
        settings |= {"environment": args.env, "env_options": {}, "eval_env_options": {}}
    settings["env_options"] |= assignments(args.env_option, "--env-option")
    settings["eval_env_options"] |= assignments(args.eval_env_option, "--eval-env-option")
    if args.dataset is not None:
        settings["env_options"]["dataset"] = args.dataset
    settings["run"] |= given(args, fields_of((RunSettings,)))
    settings["resources"] |= given(args, fields_of((ResourceSettings,)))
    agents, training = settings["agents"], settings["training"]
    agents |= given(args, ("engine", "num_threads"))
    if args.model is not None:
        agents["policy_model"] = args.model
    if isinstance(options := agents.get("engine_options", {}), dict):  # anything else is refused when it is checked
        agents["engine_options"] = {**options, **assignments(args.engine_option, "--engine-option")}
    changes = assignments(args.set, "--set")
    algorithm = changes.get("algorithm") if args.algorithm is None else args.algorithm
    if algorithm is not None and algorithm != training.get("algorithm"):
        changes = {**algorithm_settings(algorithm), **changes, "algorithm": algorithm}
    agents |= {name: changes.pop(name) for name in fields_of(AGENT_NOUNS) if name in changes}
    training |= changes
    return settings


def build_config(settings: dict[str, Any]) -> Any:
    """Returns the `GRPOConfig` of a run's settings.

    Raises:
        ValueError: For an unknown setting, or a value of `run` or `resources` that is not allowed.
    """
    from runners.rllib.grpo import GRPOConfig

    resources = dataclasses.asdict(from_mapping(ResourceSettings, settings["resources"]))
    run = from_mapping(RunSettings, settings["run"])
    return (
        GRPOConfig()
        .environment(settings["environment"], env_config=settings["env_options"])
        .agents(**settings["agents"])
        .training(**settings["training"])
        .env_runners(**{name: value for name, value in resources.items() if "env_runner" in name})
        .learners(**{name: value for name, value in resources.items() if "learner" in name})
        .evaluation(
            evaluation_duration=run.eval_problems,
            eval_sampled_problems=run.eval_sampled_problems,
            evaluation_config={"env_config": settings["eval_env_options"]},
        )
        .debugging(seed=settings["seed"], log_level="ERROR")
    )


def given(args: argparse.Namespace, names: Any) -> dict[str, Any]:
    """Returns the options of these names that the command line has."""
    return {name: value for name in names if (value := getattr(args, name, None)) is not None}


def _own_options() -> dict[str, type]:
    """Returns name -> type of the run's settings that have an option of their own."""
    options = {}
    for noun in RUN_NOUNS:
        for name, hint in typing.get_type_hints(noun).items():
            kind = next(iter(typing.get_args(hint)), hint)  # of "float | None" the first
            if kind in (int, float, str):
                options[name] = kind
    return options


_OWN_OPTIONS = _own_options()
