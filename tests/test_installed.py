"""What an installation changes for programs that have nothing to do with this package."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_torch_loads_nothing_of_ours() -> None:
    """`import torch` loads every entry point of the group "torch.backends", by names that a user's folder may hide."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("entry-points", {})
    assert "torch.backends" not in declared
    installed = importlib.metadata.distribution("gsm8k-env").entry_points
    assert not installed.select(group="torch.backends"), "installed before pyproject.toml changed: install again"


def test_import_torch_beside_a_folder_of_the_name_agents(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").touch()
    run = subprocess.run(
        [sys.executable, "-c", "import torch"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
