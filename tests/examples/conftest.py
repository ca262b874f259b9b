"""The examples as a user has them: scripts, run in a process of their own or loaded from their file."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="session")
def load_example():
    """Returns a function from an example's name to its module."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def run_example():
    """Returns a function that runs an example with arguments, and returns what it printed."""

    def run(name: str, *arguments: object) -> str:
        command = [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def count_lines():
    """Returns a function from an example's name to the length of its file."""
    return lambda name: len((EXAMPLES / f"{name}.py").read_text().splitlines())
