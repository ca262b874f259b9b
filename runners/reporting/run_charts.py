"""Which curves a run's report has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runners.comparing.bands import Band
from runners.comparing.records import RunRecord
from runners.reporting.page import Chart
from runners.reporting.plots import Line, lines, stacked

_SECONDS = {"sample_s": "sampling", "update_s": "update", "sync_s": "weights to engines"}


def charts(record: RunRecord, rows: Sequence[Mapping[str, float]]) -> list[Chart]:
    """Returns the curves of a run whose metrics it has.

    Args:
        record: The run.
        rows: Its metrics, in the order of the steps.
    """
    bands = _bands(record)
    words = ""
    if bands:
        length = max(map(len, bands.bounds.values()))
        words = f" Shaded: the band of {bands.seeds} healthy seeds of the preset, which has {length} steps."
    found = []

    def add(title: str, caption: str, *wanted: Line, y_axis: str, log: bool = False, share: bool = False) -> None:
        there = [line for line in wanted if any(line.metric in row for row in rows)]
        if there:
            plot = lines(rows, there, y_axis=y_axis, log=log, share=share)
            banded = any(line.band for line in there)
            found.append(Chart(title=title, caption=caption + (words if banded else ""), plot=plot))

    def of(metric: str, label: str) -> Line:
        return Line(metric=metric, label=label, band=_of_metric(bands, metric))

    kind = "accuracy" if any("eval_accuracy" in row for row in rows) else "reward_mean"
    add(
        "Evaluation",
        "On the evaluation's problems. Shaded: one standard error on either side.",
        Line(metric=f"eval_{kind}", label="greedy", error="eval_standard_error"),
        Line(metric=f"eval_sampled_{kind}", label="sampled", error="eval_sampled_standard_error"),
        y_axis=kind.removesuffix("_mean"),
        share=kind == "accuracy",
    )
    add("Training reward", "Mean return of a step's episodes.", of("reward_mean", "reward"), y_axis="reward")
    if any(all(name in row for name in _SECONDS) for row in rows):
        found.append(_time(rows))
    add(
        "Length of completions",
        "Tokens of the policy, end tokens included.",
        of("completion_tokens_mean", "mean"),
        Line(metric="completion_tokens_max", label="longest"),
        y_axis="tokens",
    )
    add(
        "Shares",
        "Of groups whose rewards are all equal, of episodes that were cut, of tokens that the clip holds back.",
        Line(metric="zero_variance_share", label="zero-variance groups"),
        Line(metric="truncated_share", label="truncated"),
        Line(metric="clip_frac", label="clipped tokens"),
        y_axis="share",
        share=True,
    )
    add("Loss", "The objective's value.", of("loss", "loss"), y_axis="loss")
    add("Entropy", "At the completions' tokens.", of("entropy", "entropy"), y_axis="nats")
    add("Gradient norm", "Before clipping.", of("grad_norm", "grad_norm"), y_axis="norm", log=True)
    add(
        "KL",
        "Per token: to the policy before the update, and to the reference where there is one.",
        of("approx_kl", "to the old policy"),
        Line(metric="ref_kl", label="to the reference"),
        y_axis="nats",
        log=True,
    )
    add(
        "Engine against learner",
        "|rollout - old log-prob| of a step's tokens, and the difference after the weights were delivered.",
        of("rollout_logprob_diff_mean", "mean"),
        Line(metric="rollout_logprob_diff_max", label="largest"),
        Line(metric="sync_logprob_diff", label="after delivery"),
        y_axis="nats",
        log=True,
    )
    return found


def _time(rows: Sequence[Mapping[str, float]]) -> Chart:
    totals = {name: sum(row.get(name, 0.0) for row in rows) for name in _SECONDS}
    every = sum(totals.values()) or 1.0
    shares = ", ".join(f"{_SECONDS[name]} {100 * seconds / every:.0f} %" for name, seconds in totals.items())
    return Chart(
        title="Where a step's time goes",
        caption=f"Over the run: {shares} of {every:.0f} s. Evaluations and checkpoints are not in it.",
        plot=stacked(rows, _SECONDS, y_axis="seconds"),
    )


def _bands(record: RunRecord) -> Band | None:
    """Returns the band of the run's preset, if the run has the settings that it was made with."""
    band = Band.read(record.config["preset"])
    return band if band and "does not apply" not in band.verdict(record) else None


def _of_metric(band: Band | None, metric: str) -> dict[int, tuple[float, float]] | None:
    if band is None or metric not in band.bounds:
        return None
    return {step: (low, high) for step, (low, high) in enumerate(band.bounds[metric], start=1)}
