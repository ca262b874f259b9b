"""An engine's process: answers, refusals, crashes, silence, and the end of everything it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import agents
from agents.base import EngineError
from agents.engine_process import EngineProcess, require
from tests.agents.processes import group_ends, process_ends

TARGET = "tests.agents.fake_engine:FakeEngine"


def started(timeout_s: float = 10.0, start_timeout_s: float = 20.0, **options: Any) -> EngineProcess:
    return EngineProcess(
        TARGET, options, environment={"FAKE": "yes"}, timeout_s=timeout_s, start_timeout_s=start_timeout_s
    )


@pytest.fixture
def process() -> Iterator[EngineProcess]:
    engine = started(timeout_s=1.5)
    yield engine
    engine.close()


def test_calls(process: EngineProcess) -> None:
    assert process.call("echo", {"ids": [1, 2]}) == {"ids": [1, 2]}
    assert process.call("environment", "FAKE") == "yes"


def test_large_messages_pass(process: EngineProcess) -> None:
    assert process.call("echo", "x" * 5_000_000) == "x" * 5_000_000


@pytest.mark.slow
def test_progress_holds_the_time_limit_off(process: EngineProcess) -> None:
    process.call("begin", "slow", 4.0)
    assert process.poll(10.0) == ["slow"]


def test_what_is_begun_goes_on_between_calls(process: EngineProcess) -> None:
    process.call("begin", "slow", 1.0)
    process.call("begin", "fast", 0.2)
    assert process.poll(0.0) == []
    assert process.call("echo", 1) == 1
    assert process.poll(10.0) == ["fast"]
    time.sleep(1.5)
    assert process.poll(0.0) == ["slow"]


def test_a_step_that_fails_ends_the_engine(process: EngineProcess) -> None:
    process.call("begin", "broken", 0.1, "fault")
    with pytest.raises(EngineError, match="failed during 'work': RuntimeError: a broken step"):
        process.poll(10.0)
    with pytest.raises(EngineError, match=r"exited with status 1|Call restart\(\)"):
        process.call("echo", 1)


def test_silence_of_what_is_begun_is_a_hang(process: EngineProcess) -> None:
    process.call("begin", "slow", 60.0)
    os.killpg(process.pid, signal.SIGSTOP)
    with pytest.raises(EngineError, match=r"no progress for 1\.5 s during 'work'"):
        process.poll(30.0)


def test_refusals_and_failures_leave_the_engine_alive(process: EngineProcess) -> None:
    with pytest.raises(ValueError, match="refused 'fail': ValueError: a bad request"):
        process.call("fail", "value")
    with pytest.raises(EngineError, match="failed during 'fail': RuntimeError: a broken engine"):
        process.call("fail", "runtime")
    assert process.call("echo", 1) == 1


def test_an_exit_names_its_status(process: EngineProcess) -> None:
    with pytest.raises(EngineError, match=r"lost during 'die'; it exited with status 7"):
        process.call("die")
    with pytest.raises(EngineError, match=r"Call restart\(\)"):
        process.call("echo", 1)


def test_a_kill_is_noticed_at_once_and_takes_the_children_along(process: EngineProcess) -> None:
    child = process.call("child_pid")
    os.kill(process.pid, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(EngineError, match="SIGKILL"):
        process.call("sleep", 60.0)
    assert time.monotonic() - began < 30
    assert process_ends(child)


def test_silence_is_a_hang(process: EngineProcess) -> None:
    began = time.monotonic()
    with pytest.raises(EngineError, match=r"no progress for 1\.5 s during 'sleep'; it was still running"):
        process.call("sleep", 60.0)
    assert time.monotonic() - began < 30
    assert group_ends(process.pid)


@pytest.mark.slow
def test_a_stopped_engine_that_reads_nothing_cannot_block_the_caller(process: EngineProcess) -> None:
    os.killpg(process.pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(EngineError, match="took no more requests"):
        process.call("echo", "x" * 50_000_000)
    assert time.monotonic() - began < 30


def test_close_takes_the_children_along_and_may_be_repeated(process: EngineProcess) -> None:
    child = process.call("child_pid")
    process.close()
    process.close()
    assert process_ends(child)


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("unknown option", ValueError, "TypeError: no option called 'fault'"),
        ("exit", EngineError, r"status 3(.|\n)*cannot find the device"),
    ],
)
def test_a_start_that_fails(fault: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        started(fault=fault)


def test_a_start_that_hangs() -> None:
    with pytest.raises(EngineError, match="no progress for 1 s during 'start'"):
        started(start_timeout_s=1.0, fault="slow start")


def test_the_engine_dies_with_its_caller() -> None:
    code = (
        "from tests.agents.test_engine_process import started\n"
        "import time\n"
        "engine = started()\n"
        "print(engine.pid, engine.call('child_pid'), flush=True)\n"
        "engine.call('sleep', 600.0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    caller = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    pid, child = map(int, caller.stdout.readline().split())
    caller.kill()
    caller.wait()
    caller.stdout.close()
    assert group_ends(pid)
    assert process_ends(child)


def test_a_missing_package_is_named() -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        require("no_such_engine")
    assert caught.value.name == "no_such_engine"


def test_an_import_path_of_the_engines_own_comes_first() -> None:
    options = {"environment": {"PYTHONPATH": "/of/the/engine"}, "timeout_s": 10.0, "start_timeout_s": 20.0}
    engine = EngineProcess(TARGET, {}, **options)
    try:
        path = engine.call("environment", "PYTHONPATH").split(os.pathsep)
    finally:
        engine.close()
    assert path[:2] == ["/of/the/engine", str(Path(agents.__file__).parents[1])]
