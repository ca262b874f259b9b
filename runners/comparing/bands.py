"""The band in which healthy runs of a preset stay, made of five seeds: runners/presets/bands/NAME.json."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from runners.comparing.records import RunRecord, flat

FOLDER = Path(__file__).parent.parent / "presets" / "bands"
METRICS = (
    "reward_mean", "loss", "grad_norm", "entropy", "approx_kl", "rollout_logprob_diff_mean", "sync_logprob_diff",
    "completion_tokens_mean", "truncated_share", "zero_variance_share", "ratio_max",
)  # fmt: skip
# Settings that a run may have of its own: they do not change what a step is.
_FREE = (
    "seed",
    "run.",
    "resources.",
    "agents.num_threads",
    "agents.engine",
    "agents.sync_",
    "agents.weight_",
    "preset",
)
_WINDOW = 2
_SPREADS = 7.0
# Of a share that is 0 in every seed the next may have one episode in a hundred.
_SHARES, _LEAST_SPREAD = frozenset({"truncated_share", "zero_variance_share"}), 0.01
_LOGARITHMIC = frozenset({"rollout_logprob_diff_mean", "sync_logprob_diff", "grad_norm", "approx_kl", "ratio_max"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Bounds of metrics, step by step.

    Attributes:
        settings: Of the runs it was made of, those that decide what a step is, by name.
        seeds: How many runs.
        bounds: Metric -> [S] pairs of lowest and highest, from step 1 on.
    """

    settings: Mapping[str, object]
    seeds: int
    bounds: Mapping[str, Sequence[tuple[float, float]]]

    @classmethod
    def of(cls, runs: Sequence[RunRecord]) -> Band:
        """Makes the band of several seeds: the mean of a step and its neighbours, and seven standard deviations.

        Metrics that spread over magnitudes are taken by their logarithm. The deviation is that of the seeds within
        each step of the window, so that a trend is no spread.
        """
        steps = range(1, min(max(run.rows) for run in runs) + 1)
        bounds = {}
        for name in METRICS:
            if not all(name in run.rows[step] for run in runs for step in steps):
                continue
            values = np.array([[_scaled(name, run.rows[step][name]) for step in steps] for run in runs])
            bounds[name] = [_bounds(name, values, place) for place in range(len(steps))]
        return cls(settings=deciding(runs[0]), seeds=len(runs), bounds=bounds)

    @classmethod
    def read(cls, preset: str) -> Band | None:
        """Returns a preset's band, or None if it has none."""
        path = FOLDER / f"{Path(preset).stem}.json"
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def write(self, preset: str) -> None:
        """Stores the band of a preset."""
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{preset}.json").write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    def verdict(self, run: RunRecord) -> str:
        """Returns a line: inside the band, outside of it at which step with which metric, or why it does not apply."""
        ours = deciding(run)
        # A setting that came later has a default that leaves everything as it was.
        if apart := sorted(name for name in ours.keys() & self.settings if ours[name] != self.settings[name]):
            return f"{run.path}: the band does not apply, other settings: {', '.join(apart)}"
        seen = 0
        for place in range(max(map(len, self.bounds.values()))):
            row = run.rows.get(place + 1, {})
            seen += bool(row)
            for name, bounds in self.bounds.items():
                low, high = bounds[place]
                if name in row and not low <= row[name] <= high:
                    return (
                        f"{run.path}: outside the band of {self.seeds} seeds at step {place + 1}: {name} "
                        f"{row[name]:.4g}, band {low:.4g} to {high:.4g}"
                    )
        return f"{run.path}: inside the band of {self.seeds} seeds at all {seen} steps"


def deciding(run: RunRecord) -> dict[str, object]:
    """Returns the settings that decide what a step of a run is, by name."""
    return {name: value for name, value in flat(run.config) if not name.startswith(_FREE)}


def _bounds(name: str, values: np.ndarray, place: int) -> tuple[float, float]:
    window = values[:, max(0, place - _WINDOW) : place + _WINDOW + 1]
    spread = max(math.sqrt(float(window.var(axis=0, ddof=1).mean())), _LEAST_SPREAD if name in _SHARES else 0.0)
    centre = float(values[:, place].mean())
    low, high = centre - _SPREADS * spread, centre + _SPREADS * spread
    return (math.exp(low), math.exp(high)) if name in _LOGARITHMIC else (low, high)


def _scaled(name: str, value: float) -> float:
    return math.log(max(value, 1e-12)) if name in _LOGARITHMIC else value
