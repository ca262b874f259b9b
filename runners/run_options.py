"""The command line of a script that trains: its options, the run's complete settings, and their configuration."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import os
import sys
import typing
from typing import Any

from runners.objectives.algorithms import command_line_help
from runners.presets.loading import load_preset, preset_names
from runners.published import algorithm_settings
from runners.run_settings import ResourceSettings, RunSettings
from runners.settings import AGENT_NOUNS, RUN_NOUNS, TRAINING_NOUNS
from runners.support.assignments import assignments, check_given_once
from runners.support.parser import OneLineParser, folder
from runners.support.settings import default_of, fields_of, from_mapping, tables
from runners.training.trainers import GRPO, Trainer, trainer_of


class SettingsHelp(argparse.Action):
    """Prints the tables of docs/settings.md, of what the trainer reads."""

    def __init__(self, option_strings: list[str], dest: str, help: str, const: Trainer) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help, const=const)

    def __call__(self, parser: argparse.ArgumentParser, *arguments: Any) -> None:
        """Prints and exits."""
        read = self.const.config_class.training_settings
        others = frozenset(fields_of((*RUN_NOUNS, *AGENT_NOUNS)))
        print(tables((*RUN_NOUNS, *AGENT_NOUNS, *TRAINING_NOUNS), read | others - _refused(self.const)))
        parser.exit()


def parse_args(argv: list[str] | None = None, trainer: Trainer = GRPO) -> argparse.Namespace:
    """Returns the command line's options, and all of it as `argv`; None stands for the preset's value."""
    parser = OneLineParser(
        description=trainer.description,
        epilog=f"algorithms (docs/algorithms.md):\n{command_line_help()}" if trainer.algorithms else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    presets = ", ".join(preset_names(trainer.name))
    what = parser.add_argument_group("what is trained, and on what (without a default here: the preset's)")
    what.add_argument("--preset", help=f"{presets}, or a .yaml file (default: {trainer.preset})")
    if trainer.algorithms:
        what.add_argument(
            "--algorithm",
            metavar="NAME",
            help="one of those below: sets advantage, loss, aggregation and KL over the preset's; --set goes over it",
        )
    what.add_argument("--model", help="tiny, smollm2-135m, a folder, or a hub id")
    what.add_argument("--engine", help="transformers, or any agent registered under a name")
    what.add_argument("--env", help="a Gymnasium id; its observations and actions are texts")
    what.add_argument(
        "--dataset",
        help="short for --env-option dataset=...: auto, builtin:1-2, a path, a hub id; auto:2 has two steps",
    )
    for option, help_ in (
        ("--engine-option", "passed to the engine; repeatable"),
        ("--env-option", "passed to gym.make; repeatable"),
        ("--eval-env-option", "the same for evaluation alone, such as split=test"),
        ("--set", "any setting of --help-settings; repeatable"),
    ):
        what.add_argument(option, action="append", default=[], metavar="NAME=VALUE", help=help_)
    what.add_argument("--seed", type=int, help="default: 0")
    run = parser.add_argument_group("the run: its length, and what it leaves (the preset goes over a default)")
    processes = parser.add_argument_group("processes (the preset goes over a default)")
    for name, kind in _OWN_OPTIONS.items():
        if name in _refused(trainer):
            continue
        field = fields_of(RUN_NOUNS)[name]
        group = run if name in fields_of((RunSettings,)) else processes
        default = "" if (value := default_of(field)) is None else f" (default: {value})"
        meaning = field.metadata["meaning"].removesuffix(".").replace("%", "%%") + default
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=_METAVARS[kind], help=meaning)
    processes.add_argument("--num-threads", type=int, help="torch threads of each process (default: cores / processes)")
    run.add_argument("--name", help="name of the run (default: preset, seed and time)")
    run.add_argument("--runs-dir", type=folder, help="default: runs")
    run.add_argument(
        "--no-preflight", action="store_true", help="start without a look at a few dozen completions before step 1"
    )
    run.add_argument(
        "--resume", metavar="FOLDER", help="go on with the run of this folder, from its last whole checkpoint"
    )
    parser.add_argument("--help-settings", action=SettingsHelp, const=trainer, help="show every setting and exit")
    args = parser.parse_args(argv)
    args.argv = sys.argv[1:] if argv is None else argv
    args.trainer = trainer
    return args


def run_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Returns a new run's settings: the preset, over it the algorithm, over that the command line.

    Raises:
        ValueError: For an option that is not NAME=VALUE, an unknown preset or algorithm, or another trainer's preset.
    """
    name = args.trainer.preset if args.preset is None else args.preset
    settings = {"preset": name, "seed": 0, **load_preset(name)}
    check_trainer(f"--preset {name}", settings, args.trainer)
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
        ValueError: For an option that is not NAME=VALUE, one given in two ways, or an unknown algorithm.
    """
    settings = copy.deepcopy(settings)
    settings |= given(args, ("preset", "seed"))
    if args.env not in (None, settings["environment"]):  # the options are for the environment before
        settings |= {"environment": args.env, "env_options": {}, "eval_env_options": {}}
    env_options = assignments(args.env_option, "--env-option")
    check_given_once(env_options, "--env-option", {"dataset": ("--dataset", args.dataset)})
    settings["env_options"] |= env_options
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
    own_algorithm = given(args, ("algorithm",)).get("algorithm")
    check_given_once(
        changes,
        "--set",
        {
            "policy_model": ("--model", args.model),
            "engine": ("--engine", args.engine),
            "num_threads": ("--num-threads", args.num_threads),
            "algorithm": ("--algorithm", own_algorithm),
        },
    )
    algorithm = changes.get("algorithm") if own_algorithm is None else own_algorithm
    if algorithm is not None and algorithm != training.get("algorithm"):
        changes = {**algorithm_settings(algorithm), **changes, "algorithm": algorithm}
    agents |= {name: changes.pop(name) for name in fields_of(AGENT_NOUNS) if name in changes}
    training |= changes
    return settings


def check_trainer(what: str, settings: dict[str, Any], trainer: Trainer) -> None:
    """Refuses what another script trains.

    Raises:
        ValueError: If it is not this trainer's; the message names its own.
    """
    own = trainer_of(settings)
    if own != trainer:
        raise ValueError(f"{what} is for python {own.script}, and this is {trainer.script}.")


def build_config(settings: dict[str, Any]) -> Any:
    """Returns the trainer's configuration of a run's settings.

    Raises:
        ValueError: For an unknown setting, or a value of `run` or `resources` that is not allowed.
    """
    resources = dataclasses.asdict(from_mapping(ResourceSettings, settings["resources"]))
    run = from_mapping(RunSettings, settings["run"])
    return (
        trainer_of(settings)
        .config_class()
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


def _refused(trainer: Trainer) -> frozenset[str]:
    """Returns the run's settings that mean nothing to a trainer."""
    return frozenset() if trainer.dumps else frozenset({"dump_steps"})


def _own_options() -> dict[str, type]:
    """Returns name -> type of the run's settings that have an option of their own."""
    options = {}
    for noun in RUN_NOUNS:
        for name, hint in typing.get_type_hints(noun).items():
            kind = next(iter(typing.get_args(hint)), hint)  # of "float | None" the first
            if kind in _METAVARS and typing.get_origin(hint) is not dict:
                options[name] = kind
    return options


_METAVARS = {int: "N", float: "NUMBER", str: "TEXT"}
_OWN_OPTIONS = _own_options()
