"""MLflow (https://mlflow.org/docs). MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME count; else mlflow.db in runs/."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from runners.comparing.records import flat
from runners.tracking.tracker import TrackedRun

_EXPERIMENT = "gsm8k-env"
_LONGEST = 6000  # characters of a parameter
_MOST = 100  # parameters in one call


class MLflow:
    """A run of MLflow; the same one after --resume."""

    def __init__(self, run: TrackedRun) -> None:
        runs = run.folder.resolve().parent
        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{runs}/mlflow.db"))
        self._artifacts = None if "MLFLOW_TRACKING_URI" in os.environ else (runs / "mlartifacts").as_uri()
        self.id: str = run.id or self._new_run(run)
        self._client.update_run(self.id, status="RUNNING")

    def log(self, row: Mapping[str, float]) -> None:
        """Logs each number under its name."""
        now, step = int(time.time() * 1000), int(row["step"])
        metrics = [Metric(name, float(value), now, step) for name, value in row.items() if name != "step"]
        self._client.log_batch(self.id, metrics=metrics)

    def log_completions(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Logs a file completions/step_N.json, a table of columns as MLflow's pages show it."""
        table = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
        self._client.log_dict(self.id, table, f"completions/step_{int(rows[0]['step']):06d}.json")

    def close(self, *, ok: bool) -> None:
        """Ends the run of MLflow, as failed if it was."""
        self._client.set_terminated(self.id, status="FINISHED" if ok else "FAILED")

    def _new_run(self, run: TrackedRun) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name, self._artifacts)
        made = self._client.create_run(number, run_name=run.folder.name)
        params = [Param(key, str(value)[:_LONGEST]) for key, value in flat(run.settings)]
        for first in range(0, len(params), _MOST):
            self._client.log_batch(made.info.run_id, params=params[first : first + _MOST])
        return made.info.run_id
