import ast
import re
from pathlib import Path

import pytest

from gsm8k_env.grading import grade
from gsm8k_env.problems import load_problems
from gsm8k_env.prompts import INSTRUCTIONS
from runners.evaluation.prompts import Prompt, make_prompt, prompt_style, prompt_template
from runners.evaluation.worked_examples import WORKED_EXAMPLES, Example


def test_chat_prompts_leave_the_observation_alone() -> None:
    prompt = make_prompt(prompt_style("chat-hash"), dataset="builtin:1-2", seed=0)
    assert prompt.is_chat
    assert prompt.render("What is 2 + 2? Answer.") == "What is 2 + 2? Answer."
    assert prompt_template(prompt) == "{question} " + INSTRUCTIONS["hash"]


def test_boxed_is_graded_where_the_prompt_asks_for_it() -> None:
    assert prompt_style("chat-boxed").grading == ("boxed", "strict", "flexible")
    assert prompt_style(r"Put it in \boxed{}.").grading == ("boxed", "strict", "flexible")
    assert prompt_style("chat-none").grading == ("strict", "flexible")


def test_few_shot_layout() -> None:
    examples = (
        Example("Q one?", "1 + 1 = <<1+1=2>>2\n#### 2"),
        Example("Q two?", "#### 3"),
        Example("Spare?", "#### 4"),
    )
    prompt = Prompt(style=prompt_style("fewshot-2"), examples=examples)
    two_shots = (
        "Question: Q one?\nAnswer: 1 + 1 = <<1+1=2>>2\n#### 2\n\nQuestion: Q two?\nAnswer: #### 3\n\n"
        "Question: New?\nAnswer:"
    )
    assert prompt.render("New?") == two_shots
    # A question never finds its own solution in its prompt.
    assert prompt.render("Q one?") == (
        "Question: Q two?\nAnswer: #### 3\n\nQuestion: Spare?\nAnswer: #### 4\n\nQuestion: Q one?\nAnswer:"
    )


def test_few_shot_examples_are_training_problems_chosen_by_the_seed() -> None:
    style = prompt_style("fewshot-5")
    chosen = [make_prompt(style, dataset="builtin:1-2", seed=seed).examples for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    problems = {(p.question, p.solution) for p in load_problems("train", "builtin:1-2")}
    assert len(chosen[0]) == 6
    assert set(chosen[0]) <= problems


def test_chain_of_thought_layout() -> None:
    text = make_prompt(prompt_style("fewshot-cot-8"), dataset="builtin:1-2", seed=0).render("New?")
    assert text.startswith("Q: A ferry carries")
    assert text.count("\n\nQ: ") == 8
    assert text.endswith("The answer is 14.\n\nQ: New?\nA:")


@pytest.mark.parametrize("example", WORKED_EXAMPLES, ids=[example.question[:20] for example in WORKED_EXAMPLES])
def test_worked_examples_are_right(example: Example) -> None:
    equations = re.findall(r"(\d[\d.]*(?: [-+*/] [\d.]*\d)+) = (\d[\d.]*\d|\d)", example.answer)
    assert equations
    for left, right in equations:
        value = eval(compile(ast.parse(left, mode="eval"), "worked example", "eval"))  # digits and operators only
        assert value == pytest.approx(float(right)), left
    result = grade(example.answer, equations[-1][1])
    assert (result.correct, result.method) == (True, "phrase")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("chat-hsh", "allowed: 'chat-hash'"),
        ("fewshot-0", "from 1 to 32"),
        ("fewshot-cot-9", "from 1 to 8"),
        ("", "Unknown --prompt"),
    ],
)
def test_unknown_prompts(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prompt_style(name)


def test_too_few_training_problems(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"question": "1?", "answer": "#### 1"}\n')
    with pytest.raises(ValueError, match="1 training problems, but the prompt takes 6"):
        make_prompt(prompt_style("fewshot-5"), dataset=str(tmp_path), seed=0)
