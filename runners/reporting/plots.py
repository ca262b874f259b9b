"""The figures of a report: Bokeh's, readable in grey."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bokeh.plotting import figure

Row = Mapping[str, float]
# Dark, middle, light: apart in grey too, and each has its own dashes and marker.
_STYLES = (
    {"color": "#1b3a5c", "dash": "solid", "marker": "circle"},
    {"color": "#d2741f", "dash": "dashed", "marker": "square"},
    {"color": "#adb8c3", "dash": "dotdash", "marker": "triangle"},
)
_MOST_MARKED = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A metric over steps.

    Attributes:
        metric: Its name in metrics.jsonl.
        label: In the legend.
        error: The metric whose value is shaded on either side; none shades nothing.
        band: Step -> (low, high) to shade instead.
    """

    metric: str
    label: str
    error: str | None = None
    band: Mapping[int, tuple[float, float]] | None = None


def lines(
    rows: Sequence[Row], wanted: Iterable[Line], *, y_axis: str, log: bool = False, share: bool = False
) -> figure:
    """Returns the figure of some metrics; its data are those of the rows, a source a metric, named by it.

    Args:
        rows: Of metrics.jsonl.
        wanted: Up to three that some rows have.
        y_axis: Label of the axis, with the unit.
        log: Whether the axis is logarithmic; values that are not positive are left out there.
        share: Whether it goes from 0 to 1.
    """
    from bokeh.models import ColumnDataSource

    plot = _figure("step", y_axis, y_axis_type="log" if log else "linear")
    for line, style in zip(wanted, _STYLES, strict=False):
        points = [(row["step"], row[line.metric], row) for row in rows if line.metric in row]
        points = [point for point in points if math.isfinite(point[1]) and (point[1] > 0 or not log)]
        columns = {"step": [step for step, _, _ in points], line.metric: [value for _, value, _ in points]}
        source = ColumnDataSource(columns, name=line.metric)
        _shade(plot, line, style["color"], points)
        drawn = {"legend_label": line.label, "color": style["color"], "source": source}
        curve = plot.line("step", line.metric, line_width=2, line_dash=style["dash"], name=line.metric, **drawn)
        if len(points) <= _MOST_MARKED:
            plot.scatter("step", line.metric, size=6, marker=style["marker"], **drawn)
        _hover(plot, [("step", "@step"), (line.label, f"@{{{line.metric}}}{{0.0000[00]}}")], [curve])
    if share:
        plot.y_range.start, plot.y_range.end = 0, 1.02
    return _with_legend(plot)


def stacked(rows: Sequence[Row], wanted: Mapping[str, str], *, y_axis: str) -> figure:
    """Returns the figure of metrics on top of each other.

    Args:
        rows: Of metrics.jsonl; those that lack one of them are left out.
        wanted: Metric -> its label, from the bottom.
        y_axis: Label of the axis, with the unit.
    """
    from bokeh.models import ColumnDataSource

    plot = _figure("step", y_axis)
    whole = [row for row in rows if all(name in row for name in wanted)]
    columns = {name: [row[name] for row in whole] for name in ("step", *wanted)}
    source = ColumnDataSource(columns, name="seconds")
    bars = plot.vbar_stack(
        list(wanted),
        x="step",
        width=0.8,
        color=[style["color"] for style in _STYLES[: len(wanted)]],
        source=source,
        legend_label=list(wanted.values()),
        line_width=0,
    )
    _hover(plot, [("step", "@step"), *((label, f"@{name}{{0.00}} s") for name, label in wanted.items())], bars)
    plot.y_range.start = 0
    return _with_legend(plot)


def bars(
    names: Sequence[str], values: Sequence[float], intervals: Sequence[tuple[float, float]], *, x_axis: str
) -> figure:
    """Returns the figure of accuracies with their intervals.

    Args:
        names: [K] below the bars.
        values: [K] from 0 to 1.
        intervals: [K] low and high.
        x_axis: Label of the axis.
    """
    from bokeh.models import ColumnDataSource, Whisker

    plot = _figure(x_axis, "accuracy", x_range=list(names))
    columns = {"name": list(names), "accuracy": list(values)}
    columns |= {"low": [low for low, _ in intervals], "high": [high for _, high in intervals]}
    source = ColumnDataSource(columns, name="accuracy_by_level")
    drawn = plot.vbar("name", 0.6, "accuracy", source=source, color=_STYLES[0]["color"], fill_alpha=0.55, line_width=0)
    plot.add_layout(Whisker(base="name", lower="low", upper="high", source=source, line_width=2))
    shown = [(x_axis, "@name"), ("accuracy", "@accuracy{0.000}"), ("interval", "@low{0.000} to @high{0.000}")]
    _hover(plot, shown, [drawn])
    plot.y_range.start, plot.y_range.end = 0, 1.02
    return plot


def _figure(x_axis: str, y_axis: str, **options: Any) -> figure:
    from bokeh.plotting import figure

    plot = figure(
        height=260, sizing_mode="stretch_width", toolbar_location=None, tools="", x_axis_label=x_axis,
        y_axis_label=y_axis, min_border_right=12, **options,
    )  # fmt: skip
    plot.background_fill_color = plot.border_fill_color = plot.outline_line_color = None
    plot.grid.grid_line_color = "#e4e7ea"
    plot.axis.axis_line_color = plot.axis.major_tick_line_color = "#8b98a5"
    plot.axis.minor_tick_line_color = None
    if "x_range" not in options:
        plot.xaxis.ticker.min_interval = 1  # there is no half step
    plot.axis.axis_label_text_font_style = "normal"
    plot.axis.axis_label_text_font_size = plot.axis.major_label_text_font_size = "12px"
    return plot


def _shade(plot: figure, line: Line, color: str, points: Sequence[tuple[float, float, Row]]) -> None:
    if line.band is not None:
        within = [(step, *line.band[int(step)]) for step, _, _ in points if int(step) in line.band]
    elif line.error is not None:
        errors = [(step, value, row.get(line.error, 0.0)) for step, value, row in points]
        within = [(step, value - error, value + error) for step, value, error in errors]
    else:
        return
    if within:
        steps, low, high = zip(*within, strict=True)
        plot.varea(x=list(steps), y1=list(low), y2=list(high), color=color, fill_alpha=0.15)


def _hover(plot: figure, shown: list[tuple[str, str]], renderers: list[Any]) -> None:
    from bokeh.models import HoverTool

    plot.add_tools(HoverTool(tooltips=shown, renderers=renderers, mode="vline"))


def _with_legend(plot: figure) -> figure:
    for legend in plot.legend:
        legend.orientation = "horizontal"
        legend.border_line_color = legend.background_fill_color = None
        legend.padding = legend.margin = 0
        legend.label_text_font_size = "12px"
        legend.spacing = 14
        plot.add_layout(legend, "above")
    return plot
