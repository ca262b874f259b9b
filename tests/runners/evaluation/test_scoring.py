import pytest

from gsm8k_env.grading import grade
from runners.evaluation.samples import Sample
from runners.evaluation.scoring import grade_sample, score_mode, wrong_votes
from runners.evaluation.summary import scored_row, summarize, summary_lines


def sample(
    completion: str, *, index: int = 0, number: int = 0, finish_reason: str = "stop", truth: str = "18"
) -> Sample:
    return Sample(
        index=index,
        sample=number,
        question="?",
        ground_truth=truth,
        completion=completion,
        num_tokens=10,
        finish_reason=finish_reason,
        reward=0.0,
        batch=index // 2,
        batch_seconds=2.0,
    )


def test_modes_side_by_side() -> None:
    modes = ("strict", "flexible", "boxed", "phrase")
    expected = {
        "#### 18": (True, True, False, False),
        r"\boxed{18}": (False, True, True, False),
        "The answer is 18.": (False, True, False, True),
        "That makes 18": (False, True, False, False),
        "#### 17": (False, False, False, False),
        "": (False, False, False, False),
    }
    for text, grades in expected.items():
        scored = grade_sample(sample(text), (), modes)
        assert tuple(scored.grades[mode].correct for mode in modes) == grades, text


def test_a_completion_is_cut_at_the_first_stop_text() -> None:
    text = " 18 eggs\n#### 18\n\nQuestion: Tom has 5. How many?\nAnswer: #### 5"
    assert not grade_sample(sample(text), (), ["strict"]).grades["strict"].correct
    assert grade_sample(sample(text), ("</s>", "Question:"), ["strict"]).grades["strict"].correct


def test_truncation_is_the_engines_word_unless_the_text_had_ended_before() -> None:
    stop = ("Question:",)
    assert grade_sample(sample("18", finish_reason="length"), stop, ["strict"]).truncated
    assert not grade_sample(sample("18"), stop, ["strict"]).truncated
    assert not grade_sample(sample("18\nQuestion: and on", finish_reason="length"), stop, ["strict"]).truncated


def test_votes_are_for_numbers_not_for_spellings() -> None:
    texts = ["#### 17", "#### 17.0", r"\boxed{\frac{34}{2}}", "#### 5", "none", r"\boxed{17 or 5}", "#### 18"]
    assert wrong_votes([grade(text, "18") for text in texts]) == [1, 3]


def test_scores_of_two_problems_by_hand() -> None:
    # Problem 0: three of four right. Problem 1: one right, two agree on 5, one without an answer.
    texts = [["18", "18.0", "$18", "7"], ["18", "5", "5.0", "none"]]
    problems = [
        [grade_sample(sample(text, index=i, number=j), (), ["flexible"]) for j, text in enumerate(group)]
        for i, group in enumerate(texts)
    ]
    score = score_mode(problems, "flexible", [1, 2, 4, 8])
    assert score.accuracy.value == 0.5  # (3/4 + 1/4) / 2
    assert score.accuracy.standard_error == pytest.approx(0.25 / 2**0.5)
    assert score.answered == 7 / 8
    assert list(score.pass_at) == [1, 2, 4]  # 8 are not there
    assert score.pass_at[2].value == pytest.approx((1 + 0.5) / 2)  # 1 - C(1,2)/6 and 1 - C(3,2)/6
    assert score.majority_at[4].value == 0.5
    # Problem 0: 3 subsets win, 3 tie. Problem 1: {18, none} wins, two tie, the other three are lost.
    assert score.majority_at[2].value == pytest.approx(((3 + 1.5) / 6 + (1 + 1) / 6) / 2)
    low, high = score.interval
    assert 0 < low < 0.5 < high < 1


def test_summary_counts_tokens_time_and_incomplete_problems() -> None:
    samples = [sample("18", index=i, number=j) for i in range(3) for j in range(2)]
    samples.append(sample("17", index=3, finish_reason="length"))
    summary, scored = summarize(samples, stop=(), grading=["strict", "flexible"], ks=[1, 2])
    assert (summary.num_problems, summary.num_samples, summary.incomplete_problems) == (3, 2, 1)
    assert summary.generation_seconds == 4.0  # two batches of two seconds
    assert summary.tokens_per_second == 70 / 4
    assert summary.truncated_share == pytest.approx(1 / 7)
    assert summary.finish_reasons == {"stop": 6, "length": 1}
    assert summary.modes["flexible"].accuracy.value == 1.0
    assert [scored_row(item)["completion"] for item in scored] == ["18"] * 6 + ["17"]
    lines = summary_lines(summary)
    assert lines[0].split() == ["grading", "avg@2", "95", "%", "interval", "answered", "pass@2", "maj@2"]
    assert lines[2].startswith("flexible  100.0 ± 0.0")
    assert "1 problems with fewer" in lines[-1]


def test_nothing_to_score() -> None:
    with pytest.raises(ValueError, match="no completion"):
        summarize([], stop=(), grading=["strict"], ks=[1])


def test_two_runs_in_one_file_are_refused() -> None:
    with pytest.raises(ValueError, match="two runs"):
        summarize([sample("1"), sample("2")], stop=(), grading=["strict"], ks=[1])


def test_summary_json_holds_every_number() -> None:
    summary, _ = summarize([sample("18"), sample("17", index=1)], stop=(), grading=["flexible"], ks=[1])
    scores = summary.to_json()["scores"]["flexible"]
    assert scores["accuracy"] == 0.5
    assert scores["standard_error"] == pytest.approx(0.5 / 2**0.5)
    assert scores["wilson_95"][0] == pytest.approx(0.0945, abs=1e-4)  # 1 of 2
    assert scores["pass_at_k"] == {"1": {"value": 0.5, "standard_error": scores["standard_error"]}}
