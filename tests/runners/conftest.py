import shutil

import pytest

from tests.runners.command_line import SMALL, run


@pytest.fixture(scope="package")
def finished(tmp_path_factory):
    """A run of four steps from beginning to end."""
    runs_dir = tmp_path_factory.mktemp("runs")
    done = run(runs_dir, *SMALL, "--steps", 4, "--name", "straight")
    assert done.returncode == 0, done.stderr
    return runs_dir / "straight", done.stdout


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished[0], tmp_path / "straight")


@pytest.fixture
def no_ray(monkeypatch):
    """Nothing may start."""
    monkeypatch.setattr("ray.init", lambda *arguments, **options: pytest.fail("Ray was started"))
