"""The command line of `runners/grpo.py`: its options, the run's complete settings, and their `GRPOConfig`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from runners.objectives.algorithms import command_line_help
from runners.presets.loading import load_preset, preset_names
from runners.support.assignments import assignments

_DESCRIPTION = """Trains a language model with GRPO: `python runners/grpo.py`.

Without options it trains the bundled model on built-in problems, which takes a few minutes on two CPU cores."""
RUN_DEFAULTS = {"steps": 100, "eval_interval": 10, "eval_problems": 256, "checkpoint_interval": 10}
RESOURCE_OPTIONS = ("num_env_runners", "num_learners", "num_gpus_per_learner", "num_gpus_per_env_runner")
RESOURCES = (*RESOURCE_OPTIONS, "custom_resources_per_learner", "custom_resources_per_env_runner")


class SettingsHelp(argparse.Action):
    """Prints the tables of docs/settings.md."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *arguments: Any) -> None:
        """Prints and exits."""
        from runners.settings import AGENT_NOUNS, TRAINING_NOUNS
        from runners.support.settings import tables

        print(tables((*AGENT_NOUNS, *TRAINING_NOUNS)))
        parser.exit()


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the command line's options; None stands for the preset's value."""
    parser = argparse.ArgumentParser(
        description=_DESCRIPTION,
        epilog=f"algorithms (docs/algorithms.md):\n{command_line_help()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--preset", default="tiny", help=f"{', '.join(preset_names())}, or a .yaml file (default: tiny)"
    )
    parser.add_argument(
        "--algorithm",
        metavar="NAME",
        help="one of those below: sets advantage, loss, aggregation and KL over the preset's; --set goes over it",
    )
    parser.add_argument("--model", help="tiny, smollm2-135m, a folder, or a hub id")
    parser.add_argument("--engine", help="transformers, or any agent registered under a name")
    parser.add_argument(
        "--engine-option", action="append", default=[], metavar="NAME=VALUE", help="passed to the engine; repeatable"
    )
    parser.add_argument("--env", help="a Gymnasium id; its observations and actions are texts")
    parser.add_argument("--env-option", action="append", default=[], metavar="NAME=VALUE", help="passed to gym.make")
    parser.add_argument(
        "--eval-env-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="the same for evaluation alone, such as split=test; repeatable",
    )
    parser.add_argument("--dataset", help="short for --env-option dataset=...: auto, builtin:1-2, a path, a hub id")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--eval-interval", type=int, help="steps between evaluations; 0 evaluates at start and end")
    parser.add_argument("--eval-problems", type=int)
    parser.add_argument("--checkpoint-interval", type=int)
    parser.add_argument("--num-env-runners", type=int, help="processes that sample; 0 samples in this one")
    parser.add_argument("--num-learners", type=int, help="processes that update; 0 updates in this one")
    parser.add_argument("--num-gpus-per-learner", type=float)
    parser.add_argument("--num-gpus-per-env-runner", type=float)
    parser.add_argument("--num-threads", type=int, help="torch threads of each process (default: cores / processes)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a training setting")
    parser.add_argument("--help-settings", action=SettingsHelp, help="show every setting and exit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", help="name of the run (default: preset, seed and time)")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    parser.add_argument(
        "--resume", metavar="FOLDER", help="go on with the run of this folder, from its last checkpoint"
    )
    return parser.parse_args(argv)


def run_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the run's complete settings: the preset, over it the algorithm, over that the command line.

    Raises:
        ValueError: For an option that is not NAME=VALUE, or an unknown preset or algorithm.
    """
    preset = load_preset(args.preset)
    run = {**RUN_DEFAULTS, **preset["run"], **given(args, RUN_DEFAULTS)}
    # The preset's options are for the preset's environment.
    own = args.env in (None, preset["environment"])
    env_options = {**(preset["env_options"] if own else {}), **assignments(args.env_option, "--env-option")}
    eval_env_options = {
        **(preset["eval_env_options"] if own else {}),
        **assignments(args.eval_env_option, "--eval-env-option"),
    }
    if args.dataset is not None:
        env_options["dataset"] = args.dataset
    agent_options = {**preset["agents"], **given(args, ("engine",))}
    if args.model is not None:
        agent_options["policy_model"] = args.model
    agent_options["engine_options"] = {
        **agent_options.get("engine_options", {}),
        **assignments(args.engine_option, "--engine-option"),
    }
    resources = {**preset["resources"], **given(args, RESOURCE_OPTIONS)}
    if unknown := sorted(resources.keys() - set(RESOURCES)):
        raise ValueError(
            f"The preset {args.preset!r} asks for resources {unknown}; allowed are {', '.join(RESOURCES)}."
        )
    changes = assignments(args.set, "--set")
    if algorithm := args.algorithm or changes.get("algorithm"):
        from runners.settings import algorithm_settings

        changes = {**algorithm_settings(algorithm), **changes, "algorithm": algorithm}
    processes = max(1, resources.get("num_env_runners", 0)) * max(1, resources.get("num_learners", 0))
    agent_options["num_threads"] = args.num_threads or max(1, (os.cpu_count() or 1) // processes)
    return {
        "preset": args.preset,
        "seed": args.seed,
        "environment": args.env or preset["environment"],
        "env_options": env_options,
        "eval_env_options": eval_env_options,
        "run": run,
        "agents": agent_options,
        "training": {**preset["training"], **changes},
        "resources": resources,
    }


def build_config(settings: dict[str, Any]) -> Any:
    """Returns the `GRPOConfig` of a run's settings."""
    from runners.rllib.grpo import GRPOConfig

    resources = {"num_env_runners": 0, "num_learners": 0} | settings["resources"]
    return (
        GRPOConfig()
        .environment(settings["environment"], env_config=settings["env_options"])
        .agents(**settings["agents"])
        .training(**settings["training"])
        .env_runners(**{name: value for name, value in resources.items() if "env_runner" in name})
        .learners(**{name: value for name, value in resources.items() if "learner" in name})
        .evaluation(
            evaluation_duration=settings["run"]["eval_problems"],
            evaluation_config={"env_config": settings["eval_env_options"]},
        )
        .debugging(seed=settings["seed"], log_level="ERROR")
    )


def given(args: argparse.Namespace, names: Any) -> dict[str, Any]:
    """Returns the options of these names that the command line has."""
    return {name: value for name in names if (value := getattr(args, name)) is not None}
