"""The installed commands: each is there, and what keeps one from starting is a line."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gsm8k_cli import scripts

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def call(code, *path, folder):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_a_script_of_runners(command):
    name = command.removeprefix("gsm8k-")
    assert (ROOT / "runners" / f"{name}.py").is_file()
    if name != "doctor":
        assert COMMANDS[command] == f"gsm8k_cli.scripts:{name}"
        assert getattr(scripts, name).args == (name,)


def test_help(tmp_path):
    code = "import sys; sys.argv = ['gsm8k-compare', '--help']; from gsm8k_cli.scripts import compare; compare()"
    done = call(code, ROOT, folder=tmp_path)
    assert done.returncode == 0 and "usage: gsm8k-compare" in done.stdout, done.stderr


def test_a_missing_package_is_a_line(tmp_path):
    code = "import sys; sys.modules['torch'] = None; from gsm8k_cli.scripts import grpo; sys.exit(grpo())"
    done = call(code, ROOT, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: gsm8k-grpo needs the package 'torch': pip install 'gsm8k-env[train]'\n"


def test_another_package_of_the_name_agents_is_a_line(tmp_path):
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("class Runner: ...\n")
    code = "import sys; from gsm8k_cli.scripts import evaluate; sys.exit(evaluate())"
    done = call(code, tmp_path, ROOT, folder=tmp_path)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("error: The package 'agents' that Python finds")


def test_a_fault_of_our_own_keeps_its_traceback():
    with pytest.raises(ModuleNotFoundError, match=r"runners\.no_such_script"):
        scripts.run("no_such_script")


def test_a_run_names_the_command_that_goes_on(monkeypatch):
    from runners.run_folder.opening import resume_command
    from runners.training.trainers import GRPO

    monkeypatch.setattr(sys, "argv", ["/venv/bin/gsm8k-grpo", "--steps", "1"])
    assert resume_command(Path("runs/x"), GRPO) == "gsm8k-grpo --resume runs/x"
    monkeypatch.setattr(sys, "argv", ["runners/grpo.py"])
    assert resume_command(Path("runs/x"), GRPO) == "python runners/grpo.py --resume runs/x"
