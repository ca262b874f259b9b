"""Another package of the name `agents` is named, with what to do, before anything else goes wrong."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def python(*arguments, folder, path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


def write_agents(folder):
    (folder / "agents").mkdir()
    (folder / "agents" / "__init__.py").write_text("class Agent: ...\nclass Runner: ...\n")
    return folder / "agents" / "__init__.py"


def test_a_local_folder_of_that_name(tmp_path):
    theirs = write_agents(tmp_path)
    done = python("-c", "import runners.settings", folder=tmp_path, path=[tmp_path, ROOT])
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith("ImportError: ")
    assert str(theirs) in last and "openai-agents" in last


@pytest.mark.parametrize("script", ["grpo.py", "evaluate.py", "chat.py"])
def test_a_package_that_was_installed_over_ours(tmp_path, script):
    shutil.copytree(ROOT / "runners", tmp_path / "runners", ignore=shutil.ignore_patterns("__pycache__"))
    theirs = write_agents(tmp_path)
    done = python(tmp_path / "runners" / script, "--help", folder=tmp_path, path=[])
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ") and str(theirs) in line and "install gsm8k-env again" in line


@pytest.mark.parametrize("script", ["grpo.py", "evaluate.py", "chat.py", "doctor.py"])
def test_the_scripts_find_their_own_whatever_lies_about(tmp_path, script):
    write_agents(tmp_path)
    (tmp_path / "runners").mkdir()
    (tmp_path / "runners" / "__init__.py").write_text("raise SystemExit('theirs')\n")
    done = python(ROOT / "runners" / script, "--help", folder=tmp_path, path=[tmp_path])
    assert done.returncode == 0 and "usage" in done.stdout, done.stderr
