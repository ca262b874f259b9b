"""The report of a run, read as a file."""

import json
import re

import numpy as np
import pytest

from runners.reporting.command_line import main
from runners.reporting.groups import fitting, to_json, training_groups
from runners.reporting.last_line import report_line
from runners.reporting.run_report import run_page, write_run_report
from runners.run_folder.folder import RunFolder
from runners.run_folder.kept_rollouts import kept_rows
from runners.run_folder.reading import read_rows
from tests.runners.reporting.made_runs import ADVANTAGES, ROLLOUTS, Texts, make_run, metrics, rollout


def test_it_refers_to_nothing_outside(run_folder):
    text = (run_folder / "report.html").read_text()
    assert re.findall(r"<(?:script|link|img|iframe)[^>]*\b(?:src|href)=", text) == []
    assert re.findall(r"@import|url\(\s*['\"]?http", text.partition("</style>")[0]) == []
    assert text.count("</script><script>document.title") == 0


def test_a_killed_run_has_a_report(tmp_path, capsys):
    folder = make_run(tmp_path / "killed")
    for name in ("metrics.jsonl", "rollouts.jsonl", "samples.jsonl"):
        with (folder / name).open("a") as file:
            file.write('{"step": 5, "lo')
    assert main([str(folder)]) == 0
    assert capsys.readouterr().out == f"report: {folder / 'report.html'}\n"
    assert "step 4 of 4" in (folder / "report.html").read_text()


@pytest.mark.parametrize("name", ["provenance.json", "rollouts.jsonl", "samples.jsonl"])
def test_what_an_older_run_lacks_is_left_out(tmp_path, name):
    folder = make_run(tmp_path / "old")
    (folder / name).unlink()
    assert write_run_report(folder).is_file()


def test_supervised_fine_tuning_has_a_report_without_rewards(tmp_path):
    folder = RunFolder(tmp_path / "sft")
    folder.close()
    make_run(tmp_path / "whole")
    for name in ("config.yaml", "provenance.json"):
        (folder.path / name).write_text((tmp_path / "whole" / name).read_text())
    rows = [{"step": 0, "eval_accuracy": 0.5}, {"step": 1, "loss": 0.7, "update_s": 1.0}]
    (folder.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = run_page(folder.path)
    assert [chart.title for chart in page.charts] == ["Evaluation", "Loss"]
    assert [(h.label, h.value, h.error) for h in page.headlines] == [
        ("greedy accuracy", "0.500", ""),
        ("loss", "0.7", ""),
    ]


def test_the_band_is_drawn_where_the_settings_are_those_of_the_preset(tmp_path):
    from runners.comparing.bands import Band
    from runners.comparing.records import RunRecord, flat
    from runners.reporting.run_charts import charts

    band = Band.read("tiny")
    config = {}
    for name, value in band.settings.items():
        section, _, key = name.rpartition(".")
        (config.setdefault(section, {}) if section else config)[key] = value
    config = {**{section: {} for section in ("agents", "training", "env_options", "eval_env_options")}, **config}
    config.pop("fingerprints", None)
    drawn = {}
    for lr in (band.settings["training.lr"], 1.0):
        config["training"]["lr"] = lr
        folder = make_run(tmp_path / str(lr), **{**config, "preset": "tiny"})
        record = RunRecord.read(folder)
        assert dict(flat(record.config))["training.lr"] == lr
        found = {chart.title: chart for chart in charts(record, [record.rows[step] for step in range(5)])}
        drawn[lr] = [
            glyph for glyph in found["Training reward"].plot.renderers if type(glyph.glyph).__name__ == "VArea"
        ]
        assert ("healthy seeds" in found["Training reward"].caption) == bool(drawn[lr])
    (area,) = drawn[band.settings["training.lr"]]
    data = area.data_source.data
    assert [list(pair) for pair in zip(data["y1"], data["y2"], strict=True)] == band.bounds["reward_mean"][:4]
    assert drawn[1.0] == []


@pytest.mark.slow
def test_a_hundred_steps_of_long_completions_stay_under_4_mb(tmp_path):
    folder = RunFolder(make_run(tmp_path / "long", steps=0))
    rng = np.random.default_rng(0)
    for step in range(1, 101):
        folder.log(metrics(step, evaluated=step % 5 == 0))
        if step % 5 == 0:
            rollouts = [
                rollout(10 * step + group, rng.integers(50_000, size=400), reward=float(rng.integers(2)),
                        logprobs=-rng.exponential(size=400))
                for group in range(8) for _ in range(8)
            ]  # fmt: skip
            folder.log_rollouts(kept_rows(step, rollouts, rng.normal(size=64), Texts()))
    folder.close()
    assert (tmp_path / "long" / "rollouts.jsonl").stat().st_size < 12e6
    path = write_run_report(tmp_path / "long")
    assert 1e6 < path.stat().st_size < 4e6
    shown = int(re.search(r'class="count">(\d+)<', path.read_text())[1])
    assert 20 <= shown < 80 + 20


def test_what_does_not_fit_is_left_out_evenly():
    groups = training_groups(row for step in range(8) for row in kept_rows(step, ROLLOUTS[:2], ADVANTAGES, Texts()))
    size = len(json.dumps(to_json(groups[0])))
    assert [group.step for group in fitting(groups, 8 * size)] == list(range(8))
    assert [group.step for group in fitting(groups, 8 * size - 1)] == [0, 2, 4, 6]
    assert [group.step for group in fitting(groups, 3 * size)] == [0, 3, 6]
    assert [group.step for group in fitting(groups, 1)] == [0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metrics.jsonl", "", "has no row yet"),
        ("metrics.jsonl", "{}\n", "metrics.jsonl, line 1"),
        ("rollouts.jsonl", "[]\n", "rollouts.jsonl, line 1"),
        ("rollouts.jsonl", '{"step": 1, "group_id": 0}\n', "has a row without"),
        ("samples.jsonl", '{"step": 1}\n', "has a row without"),
        ("config.yaml", "{", "is not YAML"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, capsys, name, text, message):
    folder = make_run(tmp_path / "run")
    (folder / name).write_text(text)
    assert main([str(folder)]) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert not (folder / "report.html").exists()


def test_a_folder_that_is_neither_is_one_line(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert (
        f"neither a run (config.yaml) nor a scored evaluation (results.json) in {tmp_path}" in capsys.readouterr().err
    )
    assert main([str(make_run(tmp_path / "run")), "--score-dumps"]) == 1
    assert "has no dumps to score" in capsys.readouterr().err


def test_a_report_that_fails_is_a_line(tmp_path):
    def fails(folder):
        raise OSError(28, "No space left\non device")

    assert report_line(fails, tmp_path) == (
        "warning: no report was written (OSError: [Errno 28] No space left on device). "
        f"Try again: python runners/report.py {tmp_path}"
    )
    assert report_line(lambda folder: folder / "report.html", tmp_path) == f"report: {tmp_path}/report.html"


def test_a_missing_package_says_how_it_is_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(ImportError, match=re.escape('pip install -e ".[train]"')):
        write_run_report(make_run(tmp_path / "run"))


@pytest.mark.slow
def test_a_run_keeps_rollouts_and_writes_its_report(finished):
    folder, output = finished
    assert f"report: {folder / 'report.html'}" in output
    rows = list(read_rows(folder / "rollouts.jsonl"))
    assert sorted({row["step"] for row in rows}) == [2, 4]
    groups = {}
    for row in rows:
        groups.setdefault((row["step"], row["group_id"]), []).append(row)
        assert len(row["tokens"]) == len(row["rollout_logprobs"]) == row["num_tokens"] <= 16
        assert all(value <= 0 for value in row["rollout_logprobs"])
        assert row["num_steps"] == 1
        text = "".join(row["tokens"])
        assert text.startswith(row["completion"])
    assert len(groups) == 8 and {len(members) for members in groups.values()} == {4}
    for members in groups.values():
        rewards = np.array([row["reward"] for row in members])
        expected = (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-4) if rewards.std() else 0 * rewards
        assert [row["advantage"] for row in members] == pytest.approx(expected.tolist(), abs=1e-4)
        assert {row["zero_variance"] for row in members} == {rewards.std() == 0}


@pytest.mark.slow
def test_a_failing_report_does_not_lose_the_run(tmp_path, capsys, monkeypatch):
    import runners.reporting.run_report as module
    from runners.grpo import main as train
    from tests.runners.command_line import SMALL

    monkeypatch.setattr(module, "run_page", lambda run: 1 / 0)
    assert train(["--runs-dir", str(tmp_path), "--name", "x", *SMALL, "--steps", "1"]) == 0
    assert "warning: no report was written (ZeroDivisionError: division by zero)" in capsys.readouterr().out
    assert (tmp_path / "x" / "policy" / "model.safetensors").is_file()
    assert not (tmp_path / "x" / "report.html").exists()
