"""The report of an evaluation: accuracy by level, and the numbers of results.json."""

import json

import pytest

from gsm8k_env.grading import Grade
from runners.evaluation.command_line import main as evaluate
from runners.evaluation.samples import Sample
from runners.evaluation.scoring import ScoredSample
from runners.reporting.command_line import main
from runners.reporting.evaluation_report import evaluation_page
from runners.reporting.levels import scores_by_level


def scored(index, level, *verdicts):
    """A problem, and whether each of its completions is right."""
    return [
        ScoredSample(
            sample=Sample(
                index=index, sample=place, question="Q", ground_truth="1", completion="c", num_tokens=1,
                finish_reason="stop", reward=float(right), batch=0, batch_seconds=1.0, num_steps=level,
            ),
            grades={"strict": Grade(correct=right, extracted=None, method=None)},
            truncated=False,
        )
        for place, right in enumerate(verdicts)
    ]  # fmt: skip


def test_accuracy_by_level():
    problems = [
        scored(0, 2, True, False),
        scored(1, 1, True, True),
        scored(2, 2, False, False),
        scored(3, 0, True, True),
    ]
    found = scores_by_level(problems, "strict")
    assert [(one.level, one.num_problems, one.score.accuracy.value) for one in found] == [
        (1, 1, 1.0), (2, 2, 0.25), (None, 1, 1.0),
    ]  # fmt: skip


@pytest.mark.parametrize("level", [None, 0])
def test_no_level_where_the_problems_do_not_say_it(level):
    assert scores_by_level([scored(0, level, True)], "strict") == []


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """Four samples of a file, scored."""
    folder = tmp_path_factory.mktemp("evaluation")
    completions = ["#### 18", "the answer is 18", "#### 3", "</script><b id='taken-over'>"]
    rows = [
        Sample(
            index=place, sample=0, question=f"Question {place}", ground_truth="18", completion=text, num_tokens=4,
            finish_reason="length" if place == 3 else "stop", reward=0.0, batch=0, batch_seconds=1.0,
            num_steps=1 + place % 2,
        ).to_row()
        for place, text in enumerate(completions)
    ]  # fmt: skip
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert evaluate(["--score", str(folder / "samples.jsonl")]) == 0
    return folder


def test_evaluate_writes_a_report_with_the_numbers_of_its_results(evaluation):
    assert (evaluation / "report.html").is_file()
    page = evaluation_page(evaluation)
    results = json.loads((evaluation / "results.json").read_text())["results"]
    tables = {table.id: table for table in page.tables}
    assert {row[0]: float(row[1]) for row in tables["scores"].rows} == {
        mode: score["accuracy"] for mode, score in results["scores"].items()
    }
    # Right by strict: 0. By flexible: 0 and 1. Levels: 1, 2, 1, 2.
    assert [row[:4] for row in tables["levels"].rows] == [
        ["strict", "1", "2", "0.5000"], ["strict", "2", "2", "0.0000"],
        ["flexible", "1", "2", "0.5000"], ["flexible", "2", "2", "0.5000"],
    ]  # fmt: skip
    assert [[c.correct for c in group.completions] for group in page.groups] == [[True], [False], [False], [False]]
    assert [group.completions[0].truncated for group in page.groups] == [False, False, False, True]


def test_a_completion_is_text(evaluation):
    text = (evaluation / "report.html").read_text()
    assert "taken-over" in text and "<b id='taken-over'>" not in text


def test_it_is_made_again_by_its_own_command(evaluation, capsys):
    (evaluation / "report.html").unlink()
    assert main([str(evaluation)]) == 0
    assert capsys.readouterr().out == f"report: {evaluation / 'report.html'}\n"
    assert "Accuracy by level" in (evaluation / "report.html").read_text()


@pytest.mark.parametrize(("name", "text"), [("results.json", "{}"), ("results.json", "["), ("samples.jsonl", "{}\n")])
def test_what_cannot_be_read_is_one_line(evaluation, tmp_path, capsys, name, text):
    for file in ("results.json", "samples.jsonl"):
        (tmp_path / file).write_bytes((evaluation / file).read_bytes())
    (tmp_path / name).write_text(text)
    assert main([str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert name in error and len(error.splitlines()) == 1


def test_samples_without_grades_are_named(evaluation, tmp_path, capsys):
    (tmp_path / "results.json").write_bytes((evaluation / "results.json").read_bytes())
    rows = [json.loads(line) for line in (evaluation / "samples.jsonl").read_text().splitlines()]
    for row in rows:
        del row["grades"]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main([str(tmp_path)]) == 1
    assert "has a row without its grades" in capsys.readouterr().err
