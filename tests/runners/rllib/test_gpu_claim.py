import os
import subprocess
import sys

import pytest

from runners.rllib.env_runner import TextEnvRunner
from runners.rllib.gpu_claim import GPUClaim
from tests.runners.rllib.conftest import small_config


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """A machine of its own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_each_engine_has_gpus_of_its_own():
    claims = [GPUClaim(4, 8) for _ in range(2)]
    assert [claim.gpus for claim in claims] == ["0,1,2,3", "4,5,6,7"]
    with pytest.raises(RuntimeError, match=r"No 4 GPUs are free .* are 0, 1, 2, 3, 4, 5, 6, 7, .* hold 2 blocks of 4"):
        GPUClaim(4, 8)


def test_what_a_dead_process_held_is_free():
    code = "from runners.rllib.gpu_claim import GPUClaim; print(GPUClaim(2, 4).gpus)"
    first = GPUClaim(2, 4)
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "2,3\n"
    assert first.gpus == "0,1"


def test_gpus_that_the_process_may_see(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b,GPU-a,GPU-c")
    claim = GPUClaim(2, 8)
    assert claim.gpus == "GPU-b,GPU-a"
    with pytest.raises(RuntimeError, match="hold 1 blocks of 2"):
        GPUClaim(2, 8)


def test_a_machine_without_gpus():
    with pytest.raises(RuntimeError, match="this machine's are none"):
        GPUClaim(1, 0)


@pytest.mark.parametrize("env_runners", [{"num_env_runners": 0}, {"num_env_runners": 2, "num_gpus_per_env_runner": 1}])
def test_it_is_for_env_runners_that_have_no_gpus_of_their_own(env_runners):
    config = small_config().agents(gpus_per_engine=1).env_runners(**env_runners)
    with pytest.raises(ValueError, match="gpus_per_engine=1, but it must be None, or >= 1 with remote env runners"):
        config.validate()


class EnvRunnerOfFourGPUs(TextEnvRunner):
    """Its process may see four, as the names that Ray or the user gives."""

    def __init__(self, **kwargs):
        os.environ["CUDA_VISIBLE_DEVICES"] = "0,1,2,3"
        super().__init__(**kwargs)


@pytest.mark.slow
def test_an_env_runner_shows_its_engine_the_gpus_it_claimed(build):
    config = small_config().agents(gpus_per_engine=2)
    algo = build(config.env_runners(num_env_runners=2, env_runner_cls=EnvRunnerOfFourGPUs))
    seen = algo.env_runner_group.foreach_env_runner(_visible, local_env_runner=False)
    assert sorted(seen) == ["0,1", "2,3"]


def _visible(env_runner):
    return os.environ["CUDA_VISIBLE_DEVICES"]
