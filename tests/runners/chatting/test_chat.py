"""`python runners/chat.py`: the bundled model and a run's policy, asked as in training."""

import io
import shutil
import sys

import pytest

from agents.models import resolve_model
from agents.scripted_agent import ScriptedAgent
from agents.text import encode_chat, load_tokenizer
from runners.chatting import command_line
from runners.chatting.command_line import main
from runners.chatting.policy import Policy, find_policy
from runners.run_folder.folder import RunFolder

QUESTION = "Tom has 3 apples and buys 4 more. How many apples does Tom have?"


def make_run(folder, *, env_options, environment="gsm8k_env:GSM8K-v0"):
    run = RunFolder(folder)
    sections = {name: {} for name in ("eval_env_options", "run", "agents", "resources", "fingerprints")}
    config = {"preset": "tiny", "seed": 0, "trainer": "grpo", "environment": environment, **sections}
    run.write_config({**config, "env_options": env_options, "training": {"max_tokens": 48}})
    run.close()
    return folder


def test_the_bundled_model(capsys):
    assert main(["tiny", QUESTION, "--max-tokens", "64"]) == 0
    *text, answer = capsys.readouterr().out.splitlines()
    assert text and answer.startswith("answer: ")
    number = answer.removeprefix("answer: ")
    assert text[-1] == f"#### {number}" and int(number) >= 0


def test_each_line_is_a_question_and_a_seed_decides(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{QUESTION}\n\n{QUESTION}\n"))
    assert main(["tiny", "--temperature", "1", "--seed", "5", "--max-tokens", "64"]) == 0
    output = capsys.readouterr().out
    assert output.count("answer: ") == 2
    assert output[: len(output) // 2] == output[len(output) // 2 :]


def test_a_cut_completion_says_so(capsys):
    assert main(["tiny", QUESTION, "--max-tokens", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "(cut at max_tokens=3: --max-tokens 6)"


def test_a_run_is_its_best_policy_and_its_form(tmp_path):
    run = make_run(tmp_path / "x", env_options={"instruction": "boxed", "grading": "boxed"})
    with pytest.raises(ValueError, match="has no policy yet"):
        find_policy(str(run))
    for name in ("checkpoints/step_000001/policy", "checkpoints/step_000002/policy", "policy", "best"):
        shutil.copytree(resolve_model("tiny"), run / name)
        assert find_policy(str(run)) == Policy(
            model=str(run / name), instruction="boxed", grading="boxed", max_tokens=48
        )


def test_a_run_on_another_environment_is_asked_by_the_question_alone(tmp_path):
    run = make_run(tmp_path / "x", env_options={"digits": 1}, environment="my_package:Addition-v0")
    shutil.copytree(resolve_model("tiny"), run / "policy")
    assert find_policy(str(run)).instruction == "none"
    assert find_policy("tiny") == Policy(model="tiny")


def test_the_prompt_is_that_of_training_and_the_answer_read_as_there(tmp_path, capsys, monkeypatch):
    prompts = []

    class Listening(ScriptedAgent):
        def generate(self, prompt_token_ids, params):
            prompts.extend(prompt_token_ids)
            return super().generate(prompt_token_ids, params)

    def script(prompt, sample):
        return r"#### 8, no: \boxed{7}, I mean 9"

    monkeypatch.setattr(command_line.agents, "make", lambda name, model: Listening(model, script=script))
    run = make_run(tmp_path / "x", env_options={"instruction": "Be brief.", "grading": "strict"})
    shutil.copytree(resolve_model("tiny"), run / "policy")
    assert main([str(run), QUESTION]) == 0
    assert prompts == [encode_chat(load_tokenizer(resolve_model("tiny")), f"{QUESTION} Be brief.")]
    assert "answer: 8" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["no-such-model", QUESTION], "No model 'no-such-model'"),
        (["tiny", QUESTION, "--instruction", "hashh"], "Unknown instruction"),
        (["tiny", QUESTION, "--max-tokens", "0"], "max_tokens=0, but it must be >= 1"),
        (["tiny", QUESTION, "--engine", "vlm"], "Did you mean 'vllm'?"),
        (["tiny", " "], "The question is empty"),
        (["tiny", "a\udcffb"], "The question is no text"),
        (["tiny", "how many " * 2000], "tokens; allowed are 1 to"),
    ],
)
def test_a_mistake_is_a_line(capsys, arguments, message):
    assert main(arguments) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and message in line
