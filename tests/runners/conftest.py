import shutil

import pytest
from filelock import FileLock

from tests.runners.command_line import SMALL, run


@pytest.fixture(scope="package")
def finished(tmp_path_factory, worker_id):
    """A run of four steps from beginning to end, made by whoever needs it first; and what it printed."""
    base = tmp_path_factory.getbasetemp()
    runs_dir = (base if worker_id == "master" else base.parent) / "finished"
    printed = runs_dir / "stdout.txt"
    with FileLock(f"{runs_dir}.lock"):
        if not printed.exists():
            done = run(runs_dir, *SMALL, "--steps", 4, "--name", "straight")
            assert done.returncode == 0, done.stderr
            printed.write_text(done.stdout, encoding="utf-8")
    return runs_dir / "straight", printed.read_text(encoding="utf-8")


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished[0], tmp_path / "straight")


@pytest.fixture
def no_ray(monkeypatch):
    """Nothing may start."""
    monkeypatch.setattr("ray.init", lambda *arguments, **options: pytest.fail("Ray was started"))
