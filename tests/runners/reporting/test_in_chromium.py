"""The report as a reader has it: opened from disk in Chromium, without a network."""

import itertools
import json
import re
import time

import pytest

from tests.runners.reporting.made_runs import OLD, ROLLOUTS

pytestmark = pytest.mark.slow

# The data of every curve, as the page draws them: [{name: column}].
CURVES = """
return Bokeh.documents.flatMap((document) => [...document._all_models.values()])
  .filter((model) => model.type === "ColumnDataSource" && model.name !== null)
  .map((model) => Object.fromEntries(model.columns().map((name) => [name, Array.from(model.get_column(name))])));
"""

COUNTER = itertools.count()


@pytest.fixture
def open_page(browser, run_folder):
    """Opens a view anew, and returns the browser."""

    def opened(view="overview", folder=run_folder):
        # A query of its own, so that it is loaded anew.
        address = f"{(folder / 'report.html').resolve().as_uri()}?{next(COUNTER)}#{view}"
        browser.get(address)
        ready = "return document.readyState === 'complete' && window.Bokeh && Bokeh.documents.length && location.href"
        deadline = time.monotonic() + 60
        while browser.execute_script(ready) != address:
            assert time.monotonic() < deadline, browser.get_log("browser")
            time.sleep(0.05)
        return browser

    return opened


def find(page, selector):
    return page.find_elements("css selector", selector)


def choose(page, name, value):
    find(page, f"#{name} option[value='{value}']")[0].click()


def column(page, key):
    """The cells of the table of groups under a heading."""
    place = [heading.get_attribute("data-key") for heading in find(page, "#groups th")].index(key) + 1
    return [cell.text for cell in find(page, f"#groups tr.group td:nth-child({place})")]


def sort_by(page, key):
    find(page, f"#groups th[data-key='{key}']")[0].click()


def open_all(page):
    for place in range(len(find(page, "#groups tr.group"))):
        row = find(page, "#groups tr.group")[place]
        if "open" not in row.get_attribute("class"):
            row.click()


def badges(page):
    """Right or wrong, of every completion that is shown."""
    open_all(page)
    return [badge.text for badge in find(page, ".completion .badge") if badge.text != "truncated"]


def test_it_opens_without_a_network_or_an_error(open_page):
    page = open_page()
    assert find(page, "h1")[0].text == "made"
    assert page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)") == []
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
    charts = find(page, "figure")
    assert len(charts) >= 8 and all(chart.size["height"] > 250 for chart in charts)
    assert page.execute_script("return Bokeh.documents.length") > 0
    assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_a_text_of_the_environment_runs_no_script(open_page):
    page = open_page("samples")
    assert page.title == "made: report"
    open_all(page)
    assert any("<script>document.title" in problem.text for problem in find(page, ".problem"))


def test_curves_and_numbers_are_those_of_the_metrics(open_page, run_folder):
    page = open_page()
    rows = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    drawn = page.execute_script(CURVES)
    seen = set()
    for curve in drawn:
        for name in curve.keys() - {"step"}:
            there = [(row["step"], row[name]) for row in rows if name in row]
            assert list(zip(curve["step"], curve[name], strict=True)) == there, name
            seen.add(name)
    assert seen >= {"eval_accuracy", "reward_mean", "sample_s", "update_s", "sync_s", "rollout_logprob_diff_max"}
    page.execute_script("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    shown = [[cell.text for cell in find(row, "td")] for row in find(page, "#metrics tbody tr")]
    table = {cells[0]: cells[1:5] for cells in shown}
    for name in rows[-1].keys() - {"step"}:
        values = [row[name] for row in rows if name in row]
        expected = [values[0], values[-1], min(values), max(values)]
        assert [float(cell) for cell in table[name]] == pytest.approx(expected, rel=1e-5), name
    headlines = {h.find_element("css selector", ".label").text: h.text for h in find(page, ".headline")}
    assert "0.625 ± 0.031" in headlines["greedy accuracy"] and "first 0.500" in headlines["greedy accuracy"]
    # Seconds 0.5 s + place over steps 1 to 4: 5, 9 and 13 of 27.
    assert "sampling 19 %, update 33 %, weights to engines 48 % of 27 s" in find(page, "main")[0].text


def test_the_two_views(open_page):
    page = open_page()
    visible = lambda: [main.is_displayed() for main in find(page, "main")]  # noqa: E731
    assert visible() == [True, False]
    find(page, "nav a")[1].click()
    assert visible() == [False, True]


def test_it_sorts(open_page):
    page = open_page("samples")
    assert column(page, "step")[:3] == ["4", "4", "4"]
    sort_by(page, "reward")
    rewards = [float(cell) for cell in column(page, "reward")]
    assert rewards == sorted(rewards, reverse=True) and set(rewards) == {0.0, 0.5, 1.0}
    sort_by(page, "reward")
    assert [float(cell) for cell in column(page, "reward")] == sorted(rewards)
    sort_by(page, "level")
    levels = column(page, "level")
    # What has no level comes last, up or down.
    assert levels == ["2", "2", "1", "1"] + ["\N{EN DASH}"] * (len(levels) - 4)
    sort_by(page, "level")
    assert column(page, "level")[:4] == ["1", "1", "2", "2"]
    sort_by(page, "diff")
    assert column(page, "diff")[0] == "5.0e-1" and column(page, "step")[0] == "2"


@pytest.mark.parametrize("wanted", ["right", "wrong", "truncated", "zero-variance"])
def test_it_filters(open_page, wanted):
    page = open_page("samples")
    choose(page, "source", "training, step 4")
    assert badges(page) == ["right", "wrong", "wrong", "wrong", "right", "right"]
    choose(page, "filter", wanted)
    expected = {
        "right": ["right"] * 3,
        "wrong": ["wrong"] * 3,
        "truncated": ["wrong"],
        "zero-variance": ["wrong", "wrong", "right", "right"],
    }[wanted]
    assert badges(page) == expected
    groups = 2 if wanted != "truncated" else 1
    assert find(page, "#shown")[0].text == f"{len(expected)} completions in {groups} groups"
    choose(page, "filter", "all")
    assert len(badges(page)) == len(ROLLOUTS)


def colours(page):
    """Text and (red, green, blue) of every coloured token."""
    return [
        (span.text.strip(), tuple(map(int, re.findall(r"\d+", span.value_of_css_property("background-color"))[:3])))
        for span in find(page, ".text .token")
    ]


def test_tokens_are_coloured_by_what_is_chosen(open_page):
    page = open_page("samples")
    choose(page, "source", "training, step 2")
    open_all(page)
    worse, better = (232, 160, 106), (127, 168, 209)
    found = colours(page)
    assert found[:5] == [("11", better), ("12", better), ("13", better), ("11", worse), ("14", worse)]
    assert {colour for _, colour in found[5:]} == {(255, 255, 255)}

    choose(page, "colour", "logprob")
    found = colours(page)
    greens = [green for _, (_, green, _) in found[:3]]
    assert greens[1] < greens[2] < greens[0] < 256  # the likelier, the paler

    choose(page, "colour", "diff")
    found = colours(page)
    assert abs(ROLLOUTS[0].rollout_logprobs[1] - OLD[0][1]) == 0.5
    assert found[1] == ("12", (214, 96, 58)) and {colour for _, colour in found[:1] + found[2:]} == {(255, 255, 255)}
    assert "engine - learner 0.500" in find(page, ".text .token")[1].get_attribute("title")

    choose(page, "colour", "none")
    assert {span.get_attribute("style") for span in find(page, ".text .token")} == {""}


def test_the_worst_mismatches_lead_to_their_tokens(open_page):
    page = open_page()
    steps = [row.text.split()[0] for row in find(page, "#mismatched-steps tbody tr")]
    assert steps == ["4", "3", "2", "1"]
    first = [cell.text for cell in find(page, "#mismatched-tokens tbody tr")[0].find_elements("css selector", "td")]
    assert first == ["2", "0", "1", "2", "-4.0000", "+0.5", "11 [12 ]13 "]


def test_a_run_without_kept_tokens_says_so(open_page, tmp_path):
    from runners.reporting.run_report import write_run_report
    from tests.runners.reporting.made_runs import make_run

    folder = make_run(tmp_path / "plain", kept=())
    write_run_report(folder)
    page = open_page("samples", folder)
    assert find(page, "#shown")[0].text == "5 completions in 5 groups"
    assert [o.text for o in find(page, "#colour option") if not o.get_attribute("disabled")] == ["nothing"]
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
