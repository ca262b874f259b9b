"""The files of launch/ are what their own tools read. CI has an environment with the tools."""

import importlib.util
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
TASKS = sorted(LAUNCH.glob("*.yaml"))


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_skypilot_reads_the_task(path, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))  # it writes ~/.sky
    sky = pytest.importorskip("sky", reason="skypilot is not installed here")
    task = sky.Task.from_yaml_config(yaml.safe_load(path.read_text()), secrets_overrides=[("RAY_AUTH_TOKEN", "0")])
    assert task.num_nodes == 2
    assert "bash launch/node.sh python runners/grpo.py" in task.run
    assert list(task.secrets) == ["RAY_AUTH_TOKEN"]


def test_modal_reads_the_app(monkeypatch):
    modal = pytest.importorskip("modal", reason="modal is not installed here")
    spec = importlib.util.spec_from_file_location("modal_app", LAUNCH / "modal_app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert isinstance(module.app, modal.App) and isinstance(module.train, modal.Function)
    assert module.main.info.function_name == "main"
