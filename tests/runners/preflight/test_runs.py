"""The look in runs of the command line: said once, before step 1, and without a trace in what the run does."""

import pytest

from runners import grpo, sft
from tests.runners.command_line import SMALL, rows, run


def spoken(output):
    return [line for line in output.splitlines() if line.startswith("preflight: ")]


@pytest.mark.slow
def test_a_run_says_it_before_its_first_step(finished):
    _, output = finished
    (line,) = spoken(output)  # SMALL has max_tokens=16
    assert line.startswith("preflight: max_tokens=16 is short: it cut ") and " of 16 completions" in line
    assert output.index("evaluation after step 0") < output.index(line) < output.index("step 1/4")


@pytest.mark.slow
def test_the_run_is_the_same_without_it_and_a_resumed_one_has_none(finished, tmp_path):
    folder, _ = finished
    without = run(tmp_path, *SMALL, "--steps", 3, "--name", "without", "--no-preflight")
    assert without.returncode == 0 and spoken(without.stdout) == [], without.stderr
    assert rows(tmp_path / "without")[:3] == rows(folder)[:3]
    resumed = run(tmp_path, "--resume", tmp_path / "without", "--steps", 4)
    assert resumed.returncode == 0 and spoken(resumed.stdout) == [], resumed.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "agent, message", [("NoAnswerAgent", "no answer was found in any of 16"), ("EndlessAgent", "no end token: each of")]
)
def test_an_engine_that_fails(tmp_path, capsys, agent, message):
    engine = ["--engine", f"tests.runners.preflight.silent_agents:{agent}", "--set", "sync_check_bound=null"]
    grpo.main(["--runs-dir", str(tmp_path), "--name", "x", *SMALL, *engine, "--steps", "1"])
    sentences = spoken(capsys.readouterr().out)
    assert sentences[0].startswith(f"preflight: {message}") and "too hard" in sentences[-1]


@pytest.mark.slow
def test_supervised_fine_tuning_looks_at_solutions(tmp_path, capsys):
    small = ["--runs-dir", str(tmp_path), "--dataset", "builtin:1-2:256", "--eval-problems", "4", "--num-threads", "1"]
    small += ["--set", "num_prompts=40", "--steps", "1"]
    assert sft.main([*small, "--name", "well"]) == 0
    (line,) = spoken(capsys.readouterr().out)
    assert line.startswith("preflight: all well: 32 solutions of ")
    assert sft.main([*small, "--name", "long", "--set", "max_tokens=40"]) == 0
    (line,) = spoken(capsys.readouterr().out)
    assert " of 32 problems have prompts longer than max_prompt_tokens=" in line and "max_tokens=80" in line
