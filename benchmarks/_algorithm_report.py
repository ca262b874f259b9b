"""From the records of finished runs to the figures, the table and the best learning rate of each algorithm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from _algorithm_runs import RunKey
from _protocol import TASKS, Protocol
from _run_statistics import bootstrap, interquartile_mean, probability_of_improvement, share

BASELINE = "grpo"
THRESHOLDS = np.linspace(0.0, 1.0, 101)
_WORK = ("tokens", "steps", "env_steps", "train_s", "cpu_s")

Record = Mapping[str, Any]


def best_lr(records: Sequence[Record]) -> float:
    """Returns the learning rate with the best mean sampled score over seeds and levels; the smaller one of a tie.

    A rate at which a run diverged is taken only if all rates had one.
    """
    by_rate = {lr: [r for r in records if r["key"]["lr"] == lr] for lr in sorted({r["key"]["lr"] for r in records})}

    def merit(lr: float) -> tuple[bool, float]:
        stable = not any(record["diverged"] for record in by_rate[lr])
        return stable, fmean(fmean(record["scores"]["sampled"]) for record in by_rate[lr])

    return max(by_rate, key=merit)  # the first of equals


def algorithm_figures(
    runs: Mapping[str, Sequence[Record]], start: Record, protocol: Protocol
) -> dict[str, dict[str, Any]]:
    """Returns each algorithm's figures.

    Args:
        runs: Algorithm -> its records, in the order of the seeds; two at least.
        start: The scores before any training, which are the same for all: {"greedy": [T], "sampled": [T]}.
        protocol: What the runs have in common.
    """
    grid = np.linspace(0, protocol.token_budget, protocol.curve_points + 1)
    levels = TASKS[protocol.task].levels
    return {name: _figures(records, runs.get(BASELINE), start, grid, levels) for name, records in runs.items()}


def _figures(
    records: Sequence[Record],
    baseline: Sequence[Record] | None,
    start: Record,
    grid: np.ndarray,
    levels: Sequence[int],
) -> dict[str, Any]:
    sampled = _scores(records, "sampled")
    curves = np.stack([_curve(record, start, grid) for record in records], axis=1)  # [K, R, T]
    return {
        "settings": records[0]["settings"],
        "lr": records[0]["key"]["lr"],
        "seeds": [record["key"]["seed"] for record in records],
        "sampled": bootstrap(interquartile_mean, sampled).to_json(),
        "greedy": bootstrap(interquartile_mean, _scores(records, "greedy")).to_json(),
        "sampled_by_level": dict(zip(map(str, levels), sampled.mean(axis=0).tolist(), strict=True)),
        "better_than_baseline": _better(records, baseline),
        "area": bootstrap(interquartile_mean, _areas(curves)).to_json(),
        "fall": bootstrap(interquartile_mean, _falls(curves)).to_json(),
        "entropy": _mean([record["scores"].get("entropy") for record in records]),
        "labels": records[0].get("labels", "rewards"),
        "tokens_counted": all(record.get("tokens_counted", True) for record in records),
        **{name: _mean([record.get(name) for record in records]) for name in _WORK},
        "diverged": {str(record["key"]["seed"]): record["diverged"] for record in records if record["diverged"]},
        "curve": {"tokens": grid.tolist(), **bootstrap(interquartile_mean, curves).to_json()},
        "profile": bootstrap(share, sampled > THRESHOLDS[:, None, None]).to_json(),
        "runs": {str(record["key"]["seed"]): record["scores"] for record in records},
    }


def _scores(records: Sequence[Record], kind: str) -> np.ndarray:
    """Returns [R, T]."""
    return np.array([record["scores"][kind] for record in records])


def _curve(record: Record, start: Record, grid: np.ndarray) -> np.ndarray:
    """Returns [K, T]: sampled accuracy over tokens, between two evaluations on the line that joins them."""
    tokens = [0, *record["curve"]["tokens"]]
    levels = np.array([start["sampled"], *record["curve"]["sampled"]]).T
    return np.stack([np.interp(grid, tokens, level) for level in levels], axis=-1)


def _areas(curves: np.ndarray) -> np.ndarray:
    """Returns [R, T]: mean accuracy over the budget, from curves [K, R, T] at equal distances."""
    return (curves[1:] + curves[:-1]).mean(axis=0) / 2


def _falls(curves: np.ndarray) -> np.ndarray:
    """Returns [R, T]: how far a curve [K, R, T] lies at most below its best point before."""
    return (np.maximum.accumulate(curves) - curves).max(axis=0)


def _mean(values: Sequence[float | None]) -> float | None:
    """Returns the mean; None where a run does not say."""
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _better(records: Sequence[Record], baseline: Sequence[Record] | None) -> dict[str, Any] | None:
    """Returns P(better than the baseline), over the seeds that both have; None without two such seeds."""
    if baseline is None or baseline is records:
        return None
    theirs = {record["key"]["seed"]: record for record in baseline}
    shared = [record for record in records if record["key"]["seed"] in theirs]
    if len(shared) < 2:
        return None
    others = [theirs[record["key"]["seed"]] for record in shared]
    return bootstrap(probability_of_improvement, _scores(shared, "sampled"), _scores(others, "sampled")).to_json()


def table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the table in Markdown, the best sampled score first."""
    lines = [
        f"| algorithm | seeds | sampled IQM | greedy IQM | P(better than {BASELINE}) | area | largest fall | entropy "
        "| learns from | tokens | steps | env steps | train s | processor s |",
        "|---" * 14 + "|",
    ]
    for name, row in by_score(figures):
        better = "-" if row["better_than_baseline"] is None else _shown(row["better_than_baseline"], 2)
        seeds = f"{len(row['seeds'])}" + (f" ({len(row['diverged'])} diverged)" if row["diverged"] else "")
        cells = [
            *(name, seeds, _shown(row["sampled"], 3), _shown(row["greedy"], 3), better),
            *(
                f"{row['area']['value']:.3f}",
                f"{row['fall']['value']:.3f}",
                _number(row["entropy"], ".2f"),
                row["labels"],
            ),
            _number(row["tokens"], ",.0f") + ("" if row["tokens_counted"] else " (its own count)"),
            *(_number(row[name], ",.0f") for name in ("steps", "env_steps", "train_s", "cpu_s")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def by_score(figures: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Returns the algorithms, the best sampled score first."""
    return sorted(figures.items(), key=lambda item: -item[1]["sampled"]["value"])


def _shown(interval: Mapping[str, float], digits: int) -> str:
    return f"{interval['value']:.{digits}f} [{interval['low']:.{digits}f}, {interval['high']:.{digits}f}]"


def group_by_algorithm(keys: Sequence[RunKey], records: Mapping[RunKey, Record]) -> dict[str, list[Record]]:
    """Returns algorithm -> records of its finished runs among `keys`, in their order."""
    groups: dict[str, list[Record]] = {}
    for key in keys:
        if key in records:
            groups.setdefault(key.algorithm, []).append(records[key])
    return groups
