"""The picture of the comparison: learning curves, final scores with intervals, performance profile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from _algorithm_report import BASELINE, THRESHOLDS, by_score
from matplotlib.axes import Axes

# Paul Tol's "muted" scheme, made for colour-blind readers (https://sronpersonalpages.nl/~pault/), and black for the
# baseline. Where the colours are used up, the line's style tells algorithms apart.
_COLORS = ("#332288", "#CC6677", "#117733", "#88CCEE", "#AA4499", "#999933", "#882255", "#44AA99", "#DDCC77")
_STYLES = ("-", "--", ":")
_BASELINE_COLOR = "#000000"
_BAND = 0.08


def plot(figures: Mapping[str, Mapping[str, Any]], *, subtitle: str, path: Path) -> None:
    """Draws the three panels.

    Args:
        figures: As `algorithm_figures` returns them.
        subtitle: Under the title: what was run.
        path: Of the .png.
    """
    ranked = by_score(figures)
    looks = _looks(sorted(figures))
    height = max(4.2, 1.6 + 0.34 * len(ranked))
    figure, (curves, finals, profile) = plt.subplots(1, 3, figsize=(15, height), layout="constrained")
    for name, row in ranked:
        color, style = looks[name]
        line = {"color": color, "linestyle": style, "linewidth": 2.2 if name == BASELINE else 1.5}
        thousands = [tokens / 1000 for tokens in row["curve"]["tokens"]]
        curves.plot(thousands, row["curve"]["value"], label=name, **line)
        curves.fill_between(thousands, row["curve"]["low"], row["curve"]["high"], color=color, alpha=_BAND, linewidth=0)
        profile.plot(THRESHOLDS, row["profile"]["value"], label=name, drawstyle="steps-post", **line)
        profile.fill_between(
            THRESHOLDS, row["profile"]["low"], row["profile"]["high"], step="post", color=color, alpha=_BAND,
            linewidth=0,
        )  # fmt: skip
    _draw_finals(finals, ranked, looks)
    curves.set(xlabel="generated tokens, thousands", ylabel="interquartile mean of accuracy, sampled")
    curves.set_title("Held-out accuracy over generated tokens")
    finals.set(xlabel="interquartile mean of accuracy")
    finals.set_title("Final scores")
    profile.set(xlabel="accuracy $\\tau$", ylabel="share of runs x levels above $\\tau$", ylim=(0, 1.02))
    profile.set_title("Performance profile, sampled")
    # Below every score the share is 1: nothing to see there.
    lowest = min(min(min(run["sampled"]) for run in row["runs"].values()) for _, row in ranked)
    profile.set_xlim(max(0.0, lowest - 0.05), 1.0)
    for axes in (curves, finals, profile):
        axes.grid(alpha=0.3)
    curves.legend(loc="lower right", frameon=False, fontsize=8, ncols=2, handlelength=3)
    figure.suptitle(f"{subtitle}; bands and bars are 95 % bootstrap intervals over seeds", fontsize=10)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _looks(names: list[str]) -> dict[str, tuple[str, str]]:
    others = [name for name in names if name != BASELINE]
    looks = {name: (_COLORS[i % len(_COLORS)], _STYLES[i // len(_COLORS) % 3]) for i, name in enumerate(others)}
    return {BASELINE: (_BASELINE_COLOR, "-"), **looks}


def _draw_finals(axes: Axes, ranked: list[tuple[str, Mapping[str, Any]]], looks: Mapping[str, tuple[str, str]]) -> None:
    rows = range(len(ranked), 0, -1)  # the best on top
    kinds = (("sampled", "o", 0.14, True), ("greedy", "D", -0.14, False))
    for kind, marker, shift, filled in kinds:
        for place, (name, row) in zip(rows, ranked, strict=True):
            color, interval = looks[name][0], row[kind]
            ends = [interval["low"], interval["high"]]
            axes.plot(ends, [place + shift] * 2, color=color, linewidth=1.6, marker="|", ms=7)
            axes.plot(interval["value"], place + shift, marker, color=color, mfc=color if filled else "white", ms=4.5)
        axes.plot([], [], marker, color="0.3", mfc="0.3" if filled else "white", label=kind)
    axes.set_yticks(list(rows), [name for name, _ in ranked])
    axes.set_ylim(0.4, len(ranked) + 0.6)
    axes.legend(loc="lower center", frameon=False, fontsize=8)
