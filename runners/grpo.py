"""Trains a language model with GRPO: `python runners/grpo.py`.

Without options it trains the bundled model on built-in problems, which takes a few minutes on two CPU cores.
"""

from __future__ import annotations

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

from runners.run_options import RUN_DEFAULTS, build_config, given, parse_args, run_settings  # noqa: E402

NUM_SAMPLES_SHOWN = 4


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
            settings["run"] |= given(args, RUN_DEFAULTS)
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
