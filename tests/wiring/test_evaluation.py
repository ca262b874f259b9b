"""Evaluation: which environment, at which temperature, and how sure its numbers are."""

import json
import math

import pytest

from runners.evaluation.command_line import main
from tests.wiring.scripted import last_message, question
from tests.wiring.scripts import GRADED, script_of

# Five exams: greedy answers two right, samples three; training problems have other answers.
EXAMS = {
    **script_of(("1 a",), ("0 b",), ("0 c",), ("1 d",), ("0 e",), title="greedy Exam"),
    **script_of(("1 a",), ("1 bb",), ("0 c",), ("1 d",), ("0 e",), title="Exam"),
}
EXAM_ENV = {"title": "Exam", "num_problems": 5}


@pytest.fixture(params=[False, True], ids=["rewards", "correct"])
def evaluated(start, request):
    run = start(
        {"temperature": 0.7},
        script=GRADED | EXAMS,
        env={"judges": request.param},
        eval_env=EXAM_ENV | {"judges": request.param},
    )
    first = len(run.agent.calls)
    return run, run.algo.evaluate(), run.agent.calls[first:]


def test_the_environment_is_that_of_evaluation_and_greedy_is_greedy(evaluated):
    run, results, calls = evaluated
    asked = {0.0: [], 0.7: []}
    for call in calls:
        assert call.params.n == 1 and call.params.max_tokens == 32 and call.params.top_p == 1
        asked[call.params.temperature] += [last_message(run.agent.tokenizer, prompt) for prompt in call.prompts]
    exams = [question(number, "Exam") for number in range(5)]
    assert sorted(asked[0.0]) == sorted(asked[0.7]) == exams
    assert results["greedy"]["num_problems"] == 5
    assert results["greedy"]["reward_mean"] == pytest.approx(2 / 5)
    assert results["sampled"]["reward_mean"] == pytest.approx(3 / 5)


def test_the_standard_error_is_that_of_the_mean(evaluated):
    _, results, _ = evaluated
    assert results["greedy"]["standard_error"] == pytest.approx(math.sqrt(0.4 * 0.6 / 5))
    assert results["sampled"]["standard_error"] == pytest.approx(math.sqrt(0.6 * 0.4 / 5))


@pytest.mark.parametrize(
    ("count", "exams", "mean"),
    [
        (None, range(5), 3 / 5),
        (9, range(5), 3 / 5),
        (3, (0, 1, 3), 3 / 3),  # of five the places 0 * 5 // 3, 1 * 5 // 3, 2 * 5 // 3
        (2, (0, 2), 1 / 2),
        (0, (), None),
    ],
)
def test_sampled_evaluation_of_some_problems(start, count, exams, mean):
    run = start(script=GRADED | EXAMS, eval_env=EXAM_ENV)
    run.algo.config = run.algo.config.copy(copy_frozen=False).evaluation(eval_sampled_problems=count)
    first = len(run.agent.calls)
    results = run.algo.evaluate()
    asked = [
        (c.params.temperature, last_message(run.agent.tokenizer, p)) for c in run.agent.calls[first:] for p in c.prompts
    ]
    assert [message for temperature, message in asked if not temperature] == [question(n, "Exam") for n in range(5)]
    assert [message for temperature, message in asked if temperature] == [question(n, "Exam") for n in exams]
    assert results["greedy"]["reward_mean"] == pytest.approx(2 / 5) and results["greedy"]["num_problems"] == 5
    if mean is None:
        assert "sampled" not in results
    else:
        assert results["sampled"]["reward_mean"] == pytest.approx(mean)
        assert results["sampled"]["num_problems"] == len(exams)


def test_training_goes_on_with_the_problems_of_training(start):
    run = start(script=GRADED | EXAMS, eval_env=EXAM_ENV)
    run.algo.evaluate()
    step = run.step()
    assert {episode.problem for episode in step.episodes} == {question(number) for number in range(4)}
    run.follow(step)


def test_several_completions_of_a_problem_are_no_independent_draws(tmp_path, capsys):
    """Three problems, of four completions each: all right, none, and two."""
    right = [4, 0, 2]
    rows = [
        {
            "index": problem,
            "sample": sample,
            "question": "?",
            "ground_truth": "7",
            "completion": "#### 7" if sample < right[problem] else "#### 8",
            "num_tokens": 3,
            "finish_reason": "stop",
            "reward": float(sample < right[problem]),
            "batch": 0,
            "batch_seconds": 1.0,
        }
        for problem in range(3)
        for sample in range(4)
    ]
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["--score", str(path), "--k", "2"]) == 0
    scores = json.loads((tmp_path / "results.json").read_text())["results"]["scores"]["flexible"]
    assert scores["accuracy"] == pytest.approx(6 / 12)
    # Of the problems' means 1, 0 and 0.5. Twelve independent draws would have sqrt(0.25 / 12) = 0.144.
    assert scores["standard_error"] == pytest.approx(math.sqrt((0.25 + 0.25 + 0) / 3) / math.sqrt(3))
    # One of two of four: surely, never, and 1 - (2 choose 2) / (4 choose 2).
    shares = [1, 0, 1 - 1 / 6]
    mean = sum(shares) / 3
    assert scores["pass_at_k"]["2"]["value"] == pytest.approx(mean)
    spread = math.sqrt(sum((share - mean) ** 2 for share in shares) / 3)
    assert scores["pass_at_k"]["2"]["standard_error"] == pytest.approx(spread / math.sqrt(3))
