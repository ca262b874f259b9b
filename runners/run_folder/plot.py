"""The picture of a run: accuracy on problems of the evaluation, and training reward or loss, over steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runners.support.atomic import replacing


def plot_learning_curve(
    rows: Sequence[dict[str, float]], path: Path, title: str, problems: str = "held-out problems"
) -> None:
    """Draws learning_curve.png from the rows of metrics.jsonl.

    Shaded: one standard error of the evaluation on either side.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    supervised = any("loss" in row and "reward_mean" not in row for row in rows)
    if supervised:
        losses = axes.twinx()
        _plot_training(losses, rows, "loss", "loss")
        losses.set(ylabel="loss (grey), nats a token", ylim=(0, None))
    else:
        _plot_training(axes, rows, "reward_mean", "training reward (sampled)")
    _plot_evaluation(axes, rows, "eval_", "C0", f"{problems}, greedy")
    _plot_evaluation(axes, rows, "eval_sampled_", "C1", f"{problems}, sampled")
    axes.set(xlabel="step", ylabel="accuracy", ylim=(0, 1), title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    with replacing(path) as staging:
        figure.savefig(staging, dpi=130)
    plt.close(figure)


def _plot_training(axes: Any, rows: Sequence[dict[str, float]], name: str, label: str) -> None:
    points = [(row["step"], row[name]) for row in rows if name in row]
    axes.plot([step for step, _ in points], [value for _, value in points], color="0.75", linewidth=1, label=label)


def _plot_evaluation(axes: Any, rows: Sequence[dict[str, float]], prefix: str, color: str, label: str) -> None:
    # An environment that reports no "correct" has a mean reward instead of an accuracy.
    name = f"{prefix}accuracy" if any(f"{prefix}accuracy" in row for row in rows) else f"{prefix}reward_mean"
    points = [(r["step"], r[name], r[f"{prefix}standard_error"]) for r in rows if name in r]
    if not points:
        return
    steps, values, errors = zip(*points, strict=True)
    axes.plot(steps, values, color=color, marker="o", markersize=3, label=label)
    lower, upper = ([v + sign * e for v, e in zip(values, errors, strict=True)] for sign in (-1, 1))
    axes.fill_between(steps, lower, upper, color=color, alpha=0.2, linewidth=0)
