"""Ray has what a run asks for, or the run does not start."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from runners.rllib.cluster import check_resources
from runners.run_settings import ResourceSettings
from tests.runners.command_line import ROOT, SMALL, command, run


@pytest.mark.parametrize(
    ("asked", "nodes", "message"),
    [
        ({"num_learners": 2, "num_gpus_per_learner": 1}, [{"CPU": 8}], "learner asks for 1 GPU, but no node"),
        ({"num_env_runners": 2, "num_gpus_per_env_runner": 2}, [{"CPU": 8, "GPU": 1}] * 4, "no node of Ray has more"),
        ({"num_env_runners": 3, "num_gpus_per_env_runner": 1}, [{"CPU": 8, "GPU": 2}], "ask for 3 GPU where Ray has 2"),
        ({"num_env_runners": 2, "num_learners": 1}, [{"CPU": 2}], "ask for 3 CPU where Ray has 2 on 1 nodes"),
        ({"num_env_runners": 1, "custom_resources_per_env_runner": {"engine": 1}}, [{"CPU": 2}], "asks for 1 engine"),
    ],
)
def test_what_is_not_there_is_named(asked, nodes, message):
    with pytest.raises(ValueError, match=message):
        check_resources(ResourceSettings(**asked), nodes)


@pytest.mark.parametrize(
    ("asked", "nodes"),
    [
        ({}, [{}]),
        ({"num_env_runners": 2, "num_learners": 2, "num_gpus_per_learner": 1}, [{"CPU": 1, "GPU": 1}] * 2),
        ({"num_env_runners": 4, "num_gpus_per_env_runner": 0.5}, [{"CPU": 4, "GPU": 2}]),
    ],
)
def test_what_is_there(asked, nodes):
    check_resources(ResourceSettings(**asked), nodes)


@pytest.mark.slow
def test_gpus_that_are_absent_end_the_command(tmp_path):
    done = run(tmp_path, *SMALL, "--name", "x", "--num-learners", 1, "--num-gpus-per-learner", 64)
    assert done.returncode == 1
    assert "error: Each learner asks for 64 GPU, but no node of Ray has more than" in done.stderr
    assert "Traceback" not in done.stderr


LISTENERS = """
import psutil
from runners.rllib import cluster
from runners.run_settings import ResourceSettings
cluster.start(ResourceSettings())
import ray
ray.get(ray.remote(lambda: None).remote())
for process in psutil.Process().children(recursive=True):
    for connection in process.net_connections(kind="inet"):
        if connection.status == psutil.CONN_LISTEN:
            print(connection.laddr.ip.removeprefix("::ffff:"), process.name())
"""


@pytest.mark.slow
def test_a_started_ray_listens_to_this_machine_alone_and_leaves_no_token(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", LISTENERS],
        cwd=ROOT,
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    addresses = dict(reversed(line.split(" ", 1)) for line in done.stdout.splitlines())
    assert {"gcs_server", "raylet"} < addresses.keys()
    assert set(addresses.values()) == {"127.0.0.1"}
    assert list(tmp_path.rglob("auth_token")) == []


@pytest.fixture
def another_ray():
    """What `ray start` leaves on a machine; yields the environment of commands that see it."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a socket's path is short
    environment = {**os.environ, "RAY_TMPDIR": folder}
    start = ["ray", "start", "--head", "--block", "--port=0", "--include-dashboard=false"]
    process = subprocess.Popen(start, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(Path(folder).glob("ray/ray_current_cluster")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    yield environment
    os.killpg(process.pid, signal.SIGKILL)  # SIGTERM would drain it for half a minute
    process.wait(30)
    shutil.rmtree(folder)


@pytest.mark.slow
def test_another_ray_of_the_machine_is_left_alone(tmp_path, another_ray):
    arguments = [*SMALL, "--name", "x", "--steps", 1, "--eval-interval", 0]
    done = subprocess.run(command(tmp_path, *arguments), capture_output=True, text=True, env=another_ray, timeout=240)
    assert done.returncode == 0, done.stderr
