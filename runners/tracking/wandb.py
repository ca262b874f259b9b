"""Weights & Biases (https://docs.wandb.ai). Its variables count: WANDB_MODE=offline, WANDB_PROJECT, WANDB_API_KEY."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import wandb

from runners.tracking.tracker import TrackedRun

_PROJECT = "gsm8k-env"


class WandB:
    """A run of W&B, its files in the run's folder; the same one after --resume."""

    def __init__(self, run: TrackedRun) -> None:
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=run.folder.name,
            id=run.id,
            resume="allow",
            dir=str(run.folder),
            config=dict(run.settings),
            settings=wandb.Settings(silent=True),
        )
        self.id: str = self._run.id
        # Steps that are done again after a resume would be dropped as W&B's own steps, which only rise.
        self._run.define_metric("*", step_metric="step")

    def log(self, row: Mapping[str, float]) -> None:
        """Logs the row."""
        self._run.log(dict(row))

    def log_completions(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Logs a table."""
        columns: list[Any] = list(rows[0])
        table = wandb.Table(columns=columns, data=[[row[name] for name in columns] for row in rows])
        self._run.log({"step": rows[0]["step"], "completions": table})

    def close(self, *, ok: bool) -> None:
        """Finishes the run of W&B, as failed if it was."""
        self._run.finish(exit_code=0 if ok else 1)
