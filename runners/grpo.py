"""Trains a language model with GRPO: `python runners/grpo.py`.

Without options it trains the bundled model on built-in problems, which takes a few minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

# `python runners/grpo.py` puts runners/ on the path, where evaluate.py would hide the package `evaluate`. The root
# takes its place; an installed package needs neither. The current folder comes last, for modules of the user's own.
_RUNNERS = Path(__file__).resolve().parent
sys.path[:] = [str(_RUNNERS.parent), *(entry for entry in sys.path if entry != str(_RUNNERS)), os.getcwd()]

# Threads that wait for each other sleep instead of spinning: on an idle machine it costs a twentieth of a step, on a
# shared one spinning can cost ten times the step. OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from runners.objectives.algorithms import command_line_help  # noqa: E402
from runners.presets.loading import load_preset, preset_names  # noqa: E402
from runners.support.assignments import assignments  # noqa: E402

RUN_DEFAULTS = {"steps": 100, "eval_interval": 10, "eval_problems": 256, "checkpoint_interval": 10}
RESOURCE_OPTIONS = ("num_env_runners", "num_learners", "num_gpus_per_learner", "num_gpus_per_env_runner")
RESOURCES = (*RESOURCE_OPTIONS, "custom_resources_per_learner", "custom_resources_per_env_runner")
NUM_SAMPLES_SHOWN = 4


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
        description=__doc__,
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
    run = {**RUN_DEFAULTS, **preset["run"], **_given(args, RUN_DEFAULTS)}
    # The preset's options are for the preset's environment.
    own = args.env in (None, preset["environment"])
    env_options = {**(preset["env_options"] if own else {}), **assignments(args.env_option, "--env-option")}
    eval_env_options = {
        **(preset["eval_env_options"] if own else {}),
        **assignments(args.eval_env_option, "--eval-env-option"),
    }
    if args.dataset is not None:
        env_options["dataset"] = args.dataset
    agent_options = {**preset["agents"], **_given(args, ("engine",))}
    if args.model is not None:
        agent_options["policy_model"] = args.model
    agent_options["engine_options"] = {
        **agent_options.get("engine_options", {}),
        **assignments(args.engine_option, "--engine-option"),
    }
    resources = {**preset["resources"], **_given(args, RESOURCE_OPTIONS)}
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


def train(settings: dict[str, Any], folder: Any, resume: bool) -> int:
    """Runs the steps; returns the exit code: 0, or 130 if interrupted."""
    from runners.run_folder.metrics import metrics_row
    from runners.run_folder.plot import plot_learning_curve
    from runners.run_folder.progress import RunProgress

    _start_ray(settings)
    run = settings["run"]
    checkpoint = folder.latest_checkpoint() if resume else None
    algo = build_config(settings).build_algo()
    first = 0
    if checkpoint:
        algo.restore_from_path(checkpoint[0])
        first = checkpoint[1]
    if resume:
        folder.rewind(first if checkpoint else -1)

    interrupted = _note_interrupts()
    with RunProgress(run["steps"], first) as progress:
        progress.say(f"{settings['preset']}: {_describe(algo, settings)}")
        progress.say(f"run folder: {folder.path}" + (f", resumed after step {first}" if checkpoint else ""))
        started = time.monotonic()
        row: dict[str, float] = {"step": first}
        if first == 0:
            row |= metrics_row({"evaluation": algo.evaluate()}, 0)
            _record_evaluation(algo, folder, progress, row)
            folder.log(row)
        for step in range(first + 1, run["steps"] + 1):
            result = algo.train()
            last = step == run["steps"]
            if last or (run["eval_interval"] and step % run["eval_interval"] == 0):
                result["evaluation"] = algo.evaluate()
            row = metrics_row(result, step)
            folder.log(row)
            progress.step(row)
            if "evaluation" in result:
                _record_evaluation(algo, folder, progress, row)
            if last or interrupted or step % run["checkpoint_interval"] == 0:
                folder.save_checkpoint(step, lambda path: algo.save_to_path(path))
            if interrupted:
                break
        folder.save_policy(lambda path: algo.save_policy(path))
        picture = folder.path / "learning_curve.png"
        plot_learning_curve(folder.metrics(), picture, f"{settings['preset']}, seed {settings['seed']}")
        progress.say(f"{time.monotonic() - started:.0f} s; policy: {folder.path / 'policy'}; curve: {picture}")
        if interrupted:
            progress.say(f"Interrupted after step {row['step']:.0f}. Go on: {_resume_command(folder)}")
    algo.stop()
    return 130 if interrupted else 0


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    args = parse_args(argv)
    _quiet_libraries()
    try:
        if args.resume:
            path = Path(args.resume)
            if not (path / "config.yaml").is_file():
                raise ValueError(f"--resume {args.resume}: no run there (no config.yaml).")
        else:
            settings = run_settings(args)
            build_config(settings).check()
            name = args.name or f"{Path(args.preset).stem}-seed{args.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
            path = args.runs_dir / name
        from runners.run_folder.folder import RunFolder

        folder = RunFolder(path)
        if args.resume:
            settings = folder.read_config()
            settings["run"] |= _given(args, RUN_DEFAULTS)
        else:
            if folder.has_run():
                raise ValueError(f"{path} holds a run. Go on: {_resume_command(folder)}, or choose another --name.")
            folder.write_config(settings)
    except (ValueError, ImportError) as error:
        return _fail(error)
    try:
        return train(settings, folder, bool(args.resume))
    except (ValueError, ImportError, FloatingPointError, RuntimeError, OSError) as error:
        checkpoint = folder.latest_checkpoint()
        hint = f"Last good checkpoint: {checkpoint[0]}. Go on: {_resume_command(folder)}" if checkpoint else ""
        return _fail(error, hint)
    finally:
        folder.close()
        _shut_down_ray()


def _given(args: argparse.Namespace, names: Any) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _record_evaluation(algo: Any, folder: Any, progress: Any, row: dict[str, float]) -> None:
    progress.evaluation(row)
    folder.log_samples(
        {
            "step": row["step"],
            "prompt": rollout.observation,
            "completion": rollout.text,
            "reward": rollout.reward,
            "finish_reason": rollout.finish_reason,
        }
        for rollout in algo.evaluation_rollouts[:NUM_SAMPLES_SHOWN]
    )


def _describe(algo: Any, settings: dict[str, Any]) -> str:
    training, agents = algo.config, settings["agents"]
    return (
        f"{training.policy_model} on {settings['environment']} {dict(training.env_config)}, "
        f"{training.num_prompts} problems x {training.group_size} completions a step, engine {training.engine}, "
        f"weights by {algo.link.path}, "
        f"{training.num_env_runners} env runners, {training.num_learners} learners, {agents['num_threads']} threads"
    )


def _note_interrupts() -> list[int]:
    """Collects SIGINT and SIGTERM in the returned list; the second one stops at once."""
    seen: list[int] = []

    def note(number: int, frame: Any) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)
        print("\nInterrupted: finishing this step and writing a checkpoint (again: stop at once).", file=sys.stderr)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return seen


def _resume_command(folder: Any) -> str:
    return f"python runners/grpo.py --resume {folder.path}"


def _fail(error: Exception, hint: str = "") -> int:
    print(f"error: {error}", file=sys.stderr)
    if hint:
        print(hint, file=sys.stderr)
    return 1


def _start_ray(settings: dict[str, Any]) -> None:
    """Starts Ray, or joins the cluster of $RAY_ADDRESS, with its routine messages off the display.

    A machine with fewer cores than processes still runs them all, in turn.
    """
    import ray

    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    resources = settings["resources"]
    processes = 1 + resources.get("num_env_runners", 0) + resources.get("num_learners", 0)
    cluster = "RAY_ADDRESS" in os.environ
    ray.init(
        num_cpus=None if cluster else max(processes, os.cpu_count() or 1),
        include_dashboard=None if cluster else False,
        logging_level=logging.ERROR,
    )
    for name in ("ray.rllib", "ray.tune", "ray.train", "ray._private"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _quiet_libraries() -> None:
    """Keeps progress bars of the libraries off the display, which has its own."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    import transformers

    transformers.utils.logging.disable_progress_bar()


def _shut_down_ray() -> None:
    import ray

    ray.shutdown()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
