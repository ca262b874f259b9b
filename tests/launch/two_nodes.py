"""Two nodes on one machine: the second is killed in mid-step."""

import json
import re
import shlex
import shutil
import tempfile
import time
from pathlib import Path

import pytest
import yaml

from runners.presets.loading import load_preset
from runners.run_folder.folder import RunFolder
from tests.launch.nodes import Nodes
from tests.runners.command_line import SMALL, command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def nodes():
    folder = Path(tempfile.mkdtemp(prefix="n-", dir="/tmp"))  # a socket's path is short
    nodes = Nodes(folder)
    yield nodes
    nodes.close()
    print(nodes.output(0)[-4000:], nodes.output(1)[-2000:])  # shown if the test fails
    shutil.rmtree(folder, ignore_errors=True)


def until(condition, seconds=240):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def steps(run):
    path = run / "metrics.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []


def preset(folder, name, resources):
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**load_preset("tiny"), "resources": resources}))
    return path


def test_the_second_node_is_killed_in_mid_step(nodes, tmp_path):
    """An env runner's share is done by the other; a learner's run ends with one sentence."""
    sampling = {"num_env_runners": 2, "custom_resources_per_env_runner": {"engine": 1}}
    updating = {"num_learners": 1, "custom_resources_per_learner": {"second": 1}}
    runs = [
        command(tmp_path, *SMALL, "--name", name, "--steps", count, "--preset", preset(tmp_path, name, resources))
        for name, count, resources in (("sampling", 6, sampling), ("updating", 100, updating))
    ]
    first = nodes.start(0, ["bash", "-c", "; ".join(map(shlex.join, runs))], NODE_RESOURCES='{"engine": 1}')
    second = nodes.start(1, [], NODE_RESOURCES='{"engine": 1, "second": 1}')
    for run in (tmp_path / "sampling", tmp_path / "updating"):
        until(lambda run=run: 2 in steps(run) or first.poll() is not None)
        until(lambda: nodes.raylet(second) is not None)
        nodes.raylet(second).kill()

    assert first.wait(240) == 1
    assert second.wait(60) == 0
    output = nodes.output(0)
    sampled, updated = tmp_path / "sampling", tmp_path / "updating"
    assert steps(sampled) == [0, 1, 2, 3, 4, 5, 6]
    assert (sampled / "policy/model.safetensors").is_file()
    assert checkpoint(sampled).step == 6

    last = checkpoint(updated)
    assert steps(updated)[-1] - last.step in (0, 1)  # the kill may come between a row and its checkpoint
    (error,) = [line for line in output.splitlines() if line.startswith("error:")]
    assert re.fullmatch(r"error: (Learner 0|A learner) is gone, .*|error: Learners \[0\] have died, .*", error)
    assert f"Last checkpoint: {last.path}. Go on: python runners/grpo.py --resume {updated}" in output
    assert "Traceback" not in output


def checkpoint(run):
    """The newest, which is whole and has the policy beside it."""
    folder = RunFolder(run)
    newest, broken = folder.whole_checkpoint()
    folder.close()
    assert newest is not None and not broken
    assert (newest.path / "policy/model.safetensors").is_file()
    return newest
