"""The command line's run folder: what is there whenever a checkpoint is being written."""

import pytest
import ray

from runners.grpo import main
from runners.rllib.grpo import GRPO
from tests.wiring.scripted import ENV


@pytest.mark.slow
def test_the_last_two_checkpoints_stand_until_the_next_is_whole(
    ray_of_this_package, model_folder, tmp_path, monkeypatch, capsys
):
    ray.shutdown()  # the command line starts its own
    checkpoints = tmp_path / "runs" / "run" / "checkpoints"
    standing = []

    def save(algo, *arguments, **options):
        standing.append(sorted(path.name for path in checkpoints.glob("step_*")))
        if len(standing) == 4:
            raise OSError(28, "No space left on device")
        return save_to_path(algo, *arguments, **options)

    save_to_path = GRPO.save_to_path
    monkeypatch.setattr(GRPO, "save_to_path", save)
    options = ["--model", str(model_folder), "--engine", "recording", "--engine-option", "noise=0", "--env", ENV]
    options += ["--steps", "5", "--checkpoint-interval", "1", "--eval-interval", "0", "--eval-problems", "2"]
    options += ["--set", "num_prompts=2", "--set", "group_size=2", "--set", "minibatch_size=4", "--num-threads", "1"]
    assert main([*options, "--runs-dir", str(tmp_path / "runs"), "--name", "run"]) != 0
    assert "No space left on device" in capsys.readouterr().err
    first, second, third = (f"step_{step:06d}" for step in (1, 2, 3))
    assert standing == [[], [first], [first, second], [second, third]]
    assert sorted(path.name for path in checkpoints.iterdir()) == [second, third]
    assert all(any(path.rglob("*")) for path in checkpoints.iterdir())
