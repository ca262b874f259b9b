"""Which run a command line means: a new one, or one to go on with. Everything is checked before it returns."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runners.checks import Checked, check_run
from runners.run_folder.differences import differences
from runners.run_folder.folder import Checkpoint, RunFolder
from runners.run_options import check_trainer, run_settings, with_options
from runners.run_settings import RunSettings
from runners.support.provenance import provenance
from runners.support.settings import from_mapping
from runners.training.trainers import Trainer

_RUNS = Path("runs")
# Bytes that file systems take.
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run that may start.

    Attributes:
        settings: As `Checked.settings`.
        folder: Locked; config.yaml and provenance.json are written.
        resumed: Whether it was there before.
        checkpoint: Where it goes on; None begins at step 0.
        preflight: Whether a few completions are looked at before step 1.
        held_out: As `Checked.held_out`.
        notes: What the user should know.
    """

    settings: dict[str, Any]
    folder: RunFolder
    resumed: bool
    checkpoint: Checkpoint | None
    preflight: bool
    held_out: bool
    notes: tuple[str, ...]

    @property
    def first(self) -> int:
        """Steps that are done."""
        return self.checkpoint.step if self.checkpoint else 0


def open_run(args: argparse.Namespace) -> Run:
    """Returns the run of a command line.

    Raises:
        ValueError: For anything that would not do; nothing was made or changed then, but perhaps an empty folder.
        ImportError: If a package is missing.
        OSError: If the folder cannot be made, or another process has it.
    """
    return _new_run(args) if args.resume is None else _resumed_run(args)


def resume_command(folder: Path, trainer: Trainer) -> str:
    """Returns the command that goes on with a run."""
    return f"{trainer.command} --resume {folder}"


def _new_run(args: argparse.Namespace) -> Run:
    settings = run_settings(args)
    name = args.name
    if name is None:
        name = f"{Path(settings['preset']).stem}-seed{settings['seed']}-{time.strftime('%Y%m%d-%H%M%S')}"
    of_text = bool(name.strip()) and name.isprintable()
    if not of_text or Path(name).name != name or name == ".." or len(os.fsencode(name)) > _LONGEST_NAME:
        raise ValueError(f"--name {name!r}: it must be the name of one folder. --runs-dir says where that lies.")
    checked = check_run(settings)
    path = (args.runs_dir or _RUNS) / name
    try:
        folder = RunFolder(path)
    except BlockingIOError:
        raise
    except OSError as error:
        raise ValueError(f"--runs-dir {path.parent}: {error}") from error
    if folder.has_run():
        folder.close()
        raise ValueError(f"{path} holds a run. Go on: {resume_command(path, args.trainer)}, or choose another --name.")
    return _run(args, checked, folder, resumed=False, checkpoint=None, notes=[])


def _resumed_run(args: argparse.Namespace) -> Run:
    path = Path(args.resume)
    if not args.resume or not (path / "config.yaml").is_file():
        raise ValueError(f"--resume {args.resume!r}: no run there (no config.yaml).")
    for option, given_, own in (
        ("--name", args.name, path.resolve().name),
        ("--runs-dir", args.runs_dir and args.runs_dir.resolve(), path.resolve().parent),
    ):
        if given_ not in (None, own):
            raise ValueError(f"{option} {given_} with --resume {path}: leave it out, a run stays where it is.")
    folder = RunFolder(path)
    try:
        saved = folder.read_config()
        check_trainer(f"--resume {path}: the run", saved, args.trainer)
        folder.sessions()  # what cannot be read is said before anything is changed
        folder.best()
        checked = check_run(with_options(saved, args))
        checkpoint, notes = folder.whole_checkpoint()
        if checkpoint is None:
            _check_beginning(folder, notes, from_mapping(RunSettings, saved["run"]).checkpoint_interval)
            notes.append("no checkpoint was made before it stopped: it begins anew")
        elif notes:
            notes.append(f"goes on from the one before: {checkpoint.path}")
        began = checkpoint.config if checkpoint else saved
        if changed := differences(began, checked.settings, checked.moving_options):
            raise ValueError(
                f"{path}: a run goes on with the settings it has, but {'; '.join(changed)}. Give what it has, or start "
                f"a new run from its policy: {args.trainer.command} --model {path / 'policy'} ..."
            )
        done = checkpoint.step if checkpoint else -1
        if (steps := [row["step"] for row in folder.metrics()][-1:]) < [done]:
            notes.append(f"metrics.jsonl ends at step {steps[0]:.0f}" if steps else "metrics.jsonl is gone")
            notes[-1] += f": the rows up to step {done} are lost, TensorBoard's files may have them"
        folder.rewind(done)
        return _run(args, checked, folder, resumed=True, checkpoint=checkpoint, notes=notes)
    except BaseException:
        folder.close()
        raise


def _check_beginning(folder: RunFolder, broken: list[str], interval: int) -> None:
    """Refuses to begin anew where a checkpoint was made: it would drop what was done.

    Raises:
        ValueError: If there is a broken one, or the metrics go beyond the first that was due.
    """
    last = max((row["step"] for row in folder.metrics()), default=0)
    if not broken and last <= interval:
        return
    reason = "; ".join(broken) or f"its metrics go to step {last:.0f}, but {folder.path / 'checkpoints'} is empty"
    raise ValueError(f"No checkpoint to go on from: {reason}. Put one back, or start a new run with another --name.")


def _run(
    args: argparse.Namespace,
    checked: Checked,
    folder: RunFolder,
    *,
    resumed: bool,
    checkpoint: Checkpoint | None,
    notes: list[str],
) -> Run:
    folder.write_config(checked.settings)
    folder.add_session(
        {
            **provenance(args.trainer.script, args.argv),
            "first_step": checkpoint.step if checkpoint else 0,
            "settings": checked.settings,
        }
    )
    return Run(
        settings=checked.settings,
        folder=folder,
        resumed=resumed,
        checkpoint=checkpoint,
        preflight=not (resumed or args.no_preflight),
        held_out=checked.held_out,
        notes=(*checked.notes, *notes),
    )
