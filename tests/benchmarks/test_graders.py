"""The table of answer forms: our grader reads all but denials as its rows say, and the shares count what they say."""

import json
import sys
from pathlib import Path

import pytest
from _answer_forms import FORMS, Case, Form, cases
from _graders import Grader, load_graders
from graders import form_figures, sample_figures

from gsm8k_env.grading import GradingMode, grade
from gsm8k_env.problems import Problem, load_problems

ANSWERS = ("18", "1,200", "-10", "1", "1234567", "0")
PROBLEMS = [
    Problem(
        question="How many?",
        solution=f"First he has 3 * 5 = <<3*5=15>>15.\nWith the rest that makes {answer}.\n#### {answer}",
        ground_truth=answer,
    )
    for answer in ANSWERS
]
RENDERED = list(cases(PROBLEMS))
NAMES = [f"{family}: {form.name}" for family, forms in FORMS.items() for form in forms]


def _ours(form: Form) -> bool:
    """Our verdict: a reader's, but what a text denies is taken for its answer, since no grammar is read."""
    return form.verdict or form.name == "denied"


def test_every_form_is_rendered_under_a_name_of_its_own() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert {f"{case.family}: {case.form.name}" for case in RENDERED} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_flexible_reads_the_form_as_a_reader_does_but_for_denials(name: str) -> None:
    for case in RENDERED:
        if f"{case.family}: {case.form.name}" == name:
            assert grade(case.completion, case.ground_truth).correct == _ours(case.form), case.completion


@pytest.mark.parametrize(
    ("mode", "families"),
    [("strict", ("#### official", "#### dressed", "cut")), ("boxed", ("boxed", "boxed dressed", "cut"))],
)
def test_narrow_modes_read_the_forms_of_their_marker(mode: GradingMode, families: tuple[str, ...]) -> None:
    for case in RENDERED:
        if case.family in families:
            assert grade(case.completion, case.ground_truth, mode).correct == _ours(case.form), case.completion


def test_forms_of_worked_solutions_with_many_numbers() -> None:
    wrong = [
        case.completion
        for case in cases(load_problems("test", "builtin")[:40])
        if grade(case.completion, case.ground_truth).correct != _ours(case.form)
    ]
    assert wrong == []


def test_rendering_by_hand() -> None:
    texts = {f"{case.family}: {case.form.name}": case.completion for case in cases(PROBLEMS[1:2])}
    steps = "First he has 3 * 5 = 15.\nWith the rest that makes 1,200."
    assert texts["#### official: thousands separator"] == f"{steps}\n#### 1,200"
    assert texts["boxed dressed: braced separator"] == steps + r" So it is $\boxed{1{,}200}$."
    assert texts["boxed dressed: fraction"] == steps + r" So it is $\boxed{\frac{2400}{2}}$."
    assert texts["last number: Unicode minus"] == f"{steps}\nThat makes \u22121200"


def test_shares_of_a_grader_that_says_yes_to_all() -> None:
    def yes(texts: object, truths: list[str]) -> list[bool]:
        return [True] * len(truths)

    one_each: list[Case] = list(cases(PROBLEMS[1:2]))
    figures = form_figures([Grader(name="yes", contract=("cut",), verdicts=yes)], one_each)
    row = figures["graders"]["yes"]
    right = sum(case.form.verdict for case in one_each)
    assert row["share"] == pytest.approx(right / len(one_each))
    assert (row["false_positive_share"], row["false_negative_share"]) == (1.0, 0.0)
    assert row["share_in_contract"] == row["share_by_family"]["cut"] == 0.0
    assert {form["form"]: form["share"]["yes"] for form in figures["forms"]}["boxed: number"] == 1.0
    assert sum(form["count"] for form in figures["forms"]) == figures["cases"] == len(one_each)


def test_figures_of_samples_count_differences_and_quote_no_completion(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    rows = [("#### 18", "18"), ("The answer is 1,200.\u2028", "1,200"), ("#### 17", "18"), ("\\boxed{18", "18")]
    path.write_text("".join(json.dumps({"completion": text, "ground_truth": truth}) + "\n" for text, truth in rows))
    ours = load_graders()[0][0]
    yes = Grader(name="yes", contract=(), verdicts=lambda texts, truths: [truth != "1200" for truth in truths])
    figures, differences = sample_figures([ours, yes], path)
    assert figures["completions"] == 4
    assert figures["graders"]["ours, flexible"]["right_share"] == 0.5
    assert figures["graders"]["yes"] == {
        "right_share": 0.75,
        "agreement": 0.25,
        "right_where_ours_is_wrong": 2,
        "wrong_where_ours_is_right": 1,
    }
    assert differences["ours, flexible"] == [] and len(differences["yes"]) == 3
    assert "17" not in json.dumps(figures)


def test_a_package_that_is_not_installed_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("verl", "skyrl_gym", "lm_eval", "math_verify", "trl"):
        monkeypatch.setitem(sys.modules, package, None)
    graders, packages = load_graders()
    assert [grader.name for grader in graders] == ["ours, flexible", "ours, strict", "ours, boxed"]
    assert all(version.startswith("not installed") for version in packages.values()) and "verl" in packages
