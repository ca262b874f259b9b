"""From a command line to a finished run: what the scripts that train have in common."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from runners.run_options import build_config, parse_args
from runners.support.errors import UserError, users_mistakes
from runners.support.quiet import quiet_libraries
from runners.training.trainers import Trainer, trainer_of

if TYPE_CHECKING:
    from runners.run_folder.opening import Run

NUM_SAMPLES_SHOWN = 4


def train(run: Run) -> int:
    """Runs the steps; returns the exit code: 0, or 130 if interrupted."""
    from runners.preflight.look import preflight
    from runners.replaying.dumps import Dumps
    from runners.reporting.last_line import report_line
    from runners.reporting.run_report import write_run_report
    from runners.run_folder.ending import Ending
    from runners.run_folder.interrupts import Interrupts
    from runners.run_folder.kept_rollouts import TokenTexts, kept_rows
    from runners.run_folder.metrics import metrics_row
    from runners.run_folder.opening import resume_command
    from runners.run_folder.plot import plot_learning_curve
    from runners.run_folder.progress import RunProgress
    from runners.run_settings import RunSettings
    from runners.tracking.trackers import Trackers

    settings, folder, limits = run.settings, run.folder, RunSettings(**run.settings["run"])
    trainer = trainer_of(settings)
    ending, dumps = Ending(limits), Dumps(folder.path, limits.dump_steps)
    problems = "held-out problems" if run.held_out else "training problems"
    with (
        _algorithm(run) as algo,
        Interrupts(limits.interrupt_s) as interrupted,
        RunProgress(limits.steps, run.first, problems, title=trainer.title) as progress,
        Trackers(folder.path, settings, limits.report_to, progress.say) as trackers,
    ):
        progress.say(f"{settings['preset']}: {_describe(algo, settings)}")
        progress.say(f"run folder: {folder.path}" + (f", resumed after step {run.first}" if run.checkpoint else ""))
        for note in run.notes:
            progress.say(f"note: {note}")
        token_texts = TokenTexts(algo.config.policy_model, trust_remote_code=algo.config.trust_remote_code)
        started = time.monotonic()
        step, rows = run.first, folder.metrics()
        if step == 0:
            with users_mistakes():  # the first time that environment, model and engine work together
                rows = [metrics_row({"evaluation": algo.evaluate()}, 0)]
            evaluation_s = time.monotonic() - started
            folder.log(rows[0])
            trackers.log(rows[0])
            _show_evaluation(algo, folder, trackers, progress, rows[0])
            if run.preflight and limits.steps:
                with users_mistakes():
                    for sentence in preflight(algo, limits, rows[0], evaluation_s):
                        progress.say(f"preflight: {sentence}")
        last = ending.reached(rows[-1] if rows else {"step": step})
        while not last and not interrupted.seen:
            step += 1
            with dumps.keeping(step, algo):
                result = algo.train()
            last = ending.after(metrics_row(result, step))
            if last or (limits.eval_interval and step % limits.eval_interval == 0):
                result["evaluation"] = algo.evaluate()
            row = metrics_row(result, step)
            last = last or ending.after(row)
            folder.log(row)
            trackers.log(row)
            rows.append(row)
            progress.step(row)
            if "evaluation" in result:
                _show_evaluation(algo, folder, trackers, progress, row)
                folder.save_best(row, algo.save_policy)
            if trainer.dumps and ("evaluation" in result or dumps.wanted(step)):
                folder.log_rollouts(kept_rows(step, algo.trained_on, algo.advantages.advantages, token_texts))
            if last or interrupted.seen or step % limits.checkpoint_interval == 0:
                folder.save_checkpoint(
                    step, algo.save_to_path, algo.save_policy, config=settings, keep=limits.keep_checkpoints
                )
        folder.save_policy(algo.save_policy)
        picture = folder.path / "learning_curve.png"
        plot_learning_curve(rows, picture, f"{settings['preset']}, seed {settings['seed']}", problems)
        progress.say(report_line(write_run_report, folder.path))
        progress.say(f"{time.monotonic() - started:.0f} s; policy: {folder.path / 'policy'}; curve: {picture}")
        if interrupted.seen:
            progress.say(f"Interrupted after step {step}. Go on: {resume_command(folder.path, trainer)}")
    return 130 if interrupted.seen else 0


def main(trainer: Trainer, argv: list[str] | None = None) -> int:
    """Command line of a trainer; returns the exit code.

    A user's mistake is one line (and traceback.txt). A fault of the program shows its whole traceback, with the
    worker's.
    """
    args = parse_args(argv, trainer)
    quiet_libraries()
    from agents import EngineError
    from runners.rllib import cluster
    from runners.rllib.workers import WorkerLost
    from runners.run_folder.opening import open_run, resume_command

    run, code = None, 1
    try:
        with users_mistakes():
            run = open_run(args)
        return train(run)
    except KeyboardInterrupt:
        code = 130
    except (UserError, OSError, EngineError, FloatingPointError, WorkerLost) as error:
        print(f"error: {error}", file=sys.stderr)
        if run is not None:
            run.folder.keep_traceback()
    except Exception:
        traceback.print_exc()
    finally:
        if run is not None:
            run.folder.close()
        cluster.shut_down()
    if run is not None and (checkpoint := run.folder.newest_checkpoint()):
        print(f"Last checkpoint: {checkpoint}. Go on: {resume_command(run.folder.path, trainer)}", file=sys.stderr)
    return code


@contextmanager
def _algorithm(run: Run) -> Iterator[Any]:
    """Starts Ray, and everything that the run names; goes on from its checkpoint.

    However the run ends, the algorithm is stopped before Ray is: a group of learners that Python deletes later calls
    them, and that starts or joins a Ray anew, and hangs.
    """
    from runners.rllib import cluster
    from runners.run_settings import ResourceSettings

    with users_mistakes():
        cluster.start(ResourceSettings(**run.settings["resources"]))
        algo = build_config(run.settings).build_algo()
    try:
        if run.checkpoint:
            with users_mistakes():
                algo.restore_from_path(run.checkpoint.path)
        yield algo
    finally:
        algo.stop()


def _show_evaluation(algo: Any, folder: Any, trackers: Any, progress: Any, row: dict[str, float]) -> None:
    progress.evaluation(row)
    samples = [
        {
            "step": row["step"],
            "prompt": rollout.observation,
            "completion": rollout.text,
            "reward": rollout.reward,
            "correct": rollout.correct,
            "finish_reason": rollout.finish_reason,
        }
        for rollout in algo.evaluation_rollouts[:NUM_SAMPLES_SHOWN]
    ]
    folder.log_samples(samples)
    trackers.log_completions(samples)


def _describe(algo: Any, settings: dict[str, Any]) -> str:
    training, agents = algo.config, settings["agents"]
    return (
        f"{training.policy_model} on {settings['environment']} {dict(training.env_config)}, "
        f"{training.step_words()} a step, engine {training.engine}, weights by {algo.link.path}, "
        f"{training.num_env_runners} env runners, {training.num_learners} learners, {agents['num_threads']} threads"
    )
