"""The core makes the very step that RLlib's adapters make, without ray."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from runners.rllib.grpo import GRPO, GRPOConfig
from tests.runners.rllib.conftest import small_config

SCRIPT = Path(__file__).parent.parent / "one_step.py"


@pytest.mark.slow
def test_a_step_without_ray_gives_the_same_weights_to_the_bit(
    build: Callable[[GRPOConfig], GRPO], tmp_path: Path
) -> None:
    algo = build(small_config())
    before = agent_weights(algo, tmp_path / "before")
    algo.train()
    expected = agent_weights(algo, tmp_path / "after")
    subprocess.run([sys.executable, SCRIPT, tmp_path], check=True, timeout=240)
    weights = load_file(tmp_path / "model.safetensors")
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)
    assert not all(torch.equal(before[name], expected[name]) for name in weights)


def agent_weights(algo: GRPO, folder: Path) -> dict[str, torch.Tensor]:
    algo.save_policy(folder)
    return load_file(folder / "model.safetensors")
