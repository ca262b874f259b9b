"""What a report shows, and how it becomes one HTML file that needs nothing beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runners.reporting.groups import Group, fitting, to_json
from runners.support.atomic import replacing

if TYPE_CHECKING:
    from bokeh.plotting import figure

_ASSETS = Path(__file__).parent / "assets"
# With the 1.3 MB of BokehJS the file stays under 4 MB.
_MOST_SAMPLE_BYTES = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """A number to see first.

    Attributes:
        label: What it is.
        value: The number, as text.
        error: One standard error of it, as text.
        note: What belongs to it: its interval, where it started.
    """

    label: str
    value: str
    error: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A figure.

    Attributes:
        title: Above it.
        caption: Below it: units, what is shaded.
        plot: Bokeh's.
    """

    title: str
    caption: str
    plot: figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of texts.

    Attributes:
        id: In the page.
        title: Above it.
        caption: Below it.
        header: [C] the columns' names.
        rows: [R][C] cells.
        folded: Whether it is shown on demand.
    """

    id: str
    title: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A report.

    Attributes:
        title: The run's name.
        subtitle: What it is, in a line.
        command: The command that made the run.
        facts: Settings that matter: name -> value.
        headlines: The numbers to see first.
        charts: Figures, in order.
        tables: Tables, in order.
        groups: The samples.
        samples_note: How they were chosen.
    """

    title: str
    subtitle: str
    command: str
    facts: Mapping[str, str]
    headlines: Sequence[Headline]
    charts: Sequence[Chart]
    tables: Sequence[Table]
    groups: Sequence[Group] = field(default_factory=list)
    samples_note: str = ""


def write_page(page: Page, path: Path) -> Path:
    """Writes the page to a file and returns its path.

    Raises:
        ImportError: If bokeh or jinja2 is missing; the message has the command that installs them.
        OSError: If it cannot be written.
    """
    text = render(page)
    with replacing(path) as staging:
        staging.write_text(text, encoding="utf-8")
    return path


def render(page: Page) -> str:
    """Returns the HTML: styles, scripts, BokehJS and data inlined. Raises as `write_page`, ImportError."""
    try:
        from bokeh.embed import components
        from bokeh.resources import Resources
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise ImportError(f'{error}. Install what reports are made with: pip install -e ".[train]"') from error
    environment = Environment(
        loader=FileSystemLoader(_ASSETS), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    script, divs = components([chart.plot for chart in page.charts]) if page.charts else ("", ())
    shown = fitting(page.groups, _MOST_SAMPLE_BYTES)
    return environment.get_template("report.html.jinja").render(
        page=page,
        charts=list(zip(page.charts, divs, strict=True)),
        bokeh_js=Resources(mode="inline", components=["bokeh"]).js_raw if page.charts else [],
        bokeh_script=script,
        style=_asset("report.css"),
        script=_asset("samples.js"),
        num_left_out=len(page.groups) - len(shown),
        num_shown=len(shown),
        groups=_for_script([to_json(group) for group in shown]),
    )


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _for_script(value: Any) -> str:
    """Returns JSON that may stand in a script element: ASCII, and no "<" that could end it."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
