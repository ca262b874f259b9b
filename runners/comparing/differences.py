"""What is different between runs, in lines to read; the first run is what the others are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runners.comparing.records import TIMES, RunRecord, flat

_SHOWN = 4
# What is shown of the last step that all runs have, where they have it.
_TABLE = (
    "reward_mean", "accuracy", "eval_accuracy", "eval_standard_error", "eval_sampled_accuracy", "loss", "grad_norm",
    "entropy", "approx_kl", "ref_kl", "rollout_logprob_diff_mean", "completion_tokens_mean", "truncated_share",
    "zero_variance_share",
)  # fmt: skip


def told_apart(runs: Sequence[Mapping[str, Any]], what: str) -> list[str]:
    """Returns a line for each name whose value is not the same in all runs.

    Args:
        runs: [R] nested settings.
        what: Their kind, for the first line.
    """
    flattened = [dict(flat(run)) for run in runs]
    names = dict.fromkeys(name for run in flattened for name in run)
    lines = [
        f"  {name}: " + " | ".join(str(run.get(name, "-")) for run in flattened)
        for name in names
        if len({repr(run.get(name)) for run in flattened}) > 1
    ]
    return [f"{what}: the same" if not lines else f"{what} that differ:", *lines]


def metrics_apart(first: RunRecord, other: RunRecord) -> str:
    """Returns up to which step two runs have the same metrics, but for times, and what is first different."""
    common = sorted(first.rows.keys() & other.rows.keys())
    if not common:
        return f"{other.path}: no step in common"
    for place, step in enumerate(common):
        old, new = first.rows[step], other.rows[step]
        apart = [name for name in old if name not in TIMES and name in new and not _same(old[name], new[name])]
        if apart:
            shown = ", ".join(f"{name} {old[name]:.6g} -> {new[name]:.6g}" for name in apart[:_SHOWN])
            more = f" and {len(apart) - _SHOWN} more" if len(apart) > _SHOWN else ""
            before = f"the same to the bit up to step {common[place - 1]}; " if place else ""
            return f"{other.path}: {before}at step {step} {shown}{more}"
    return f"{other.path}: the same to the bit at all {len(common)} steps in common, up to {common[-1]}"


def metrics_table(runs: Sequence[RunRecord]) -> list[str]:
    """Returns some metrics of every run, as of the last step that all of them have."""
    common = set.intersection(*(set(run.rows) for run in runs))
    if not common:
        return ["no step in common"]
    last = max(common)
    lines = [f"at step {last}, or the last evaluation up to there:"]
    for name in _TABLE:
        values = [_latest(run, name, last) for run in runs]
        if any(value is not None for value in values):
            shown = " ".join(f"{'-' if value is None else format(value, '.4g'):>12}" for value in values)
            lines.append(f"  {name:28}{shown}")
    return lines


def _latest(run: RunRecord, name: str, last: int) -> float | None:
    steps = [step for step, row in run.rows.items() if step <= last and name in row]
    return run.rows[max(steps)][name] if steps else None


def _same(one: float, other: float) -> bool:
    return one == other or (one != one and other != other)
