"""Makes the agents under test, and starts the servers some of them speak to (loopback only)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import agents
from agents.base import Agent
from agents.models import resolve_model
from agents.sglang_agent.cpu import cpu_settings as sglang_cpu_settings
from agents.vllm_agent.cpu import cpu_settings as vllm_cpu_settings
from agents.vllm_agent.engine import WORKER_EXTENSION
from tests.agents.owned_transformers import OwnedTransformersAgent

START_S = 300


@contextmanager
def made_agent(name: str, folder: Path) -> Iterator[Agent]:
    """Makes "transformers", "scripted", or an engine as "NAME-owned" or "NAME-server"."""
    engine, _, how = name.partition("-")
    if how == "server":
        with server(engine, folder) as url:
            yield agents.make(engine, url=url, timeout_s=60.0)
        return
    options = {"dtype": "float32"} if engine != "scripted" else {}
    agent = OwnedTransformersAgent() if name == "transformers-owned" else agents.make(engine, **options)
    try:
        yield agent
    finally:
        agent.close()


@contextmanager
def server(engine: str, folder: Path) -> Iterator[str]:
    """Starts the engine's own server on the bundled model; yields its URL."""
    port = free_port()
    command, environment = _vllm(port) if engine == "vllm" else _sglang(port)
    log = (folder / "server.log").open("wb")
    path = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, **environment, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process, folder / "server.log")
        yield url
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _vllm(port: int) -> tuple[list[str], dict[str, str]]:
    options, environment = vllm_cpu_settings({"max_model_len": 1024})
    flags = ["--enforce-eager", "--no-enable-chunked-prefill", "--max-num-batched-tokens=8192"] if options else []
    command = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(resolve_model("tiny"))]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", *flags]
    command += ["--logprobs-mode", "processed_logprobs", "--worker-extension-cls", WORKER_EXTENSION]
    return command, {**environment, "VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1"}


def _sglang(port: int) -> tuple[list[str], dict[str, str]]:
    options, environment = sglang_cpu_settings()
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not True]
    flags += [f"--{name.replace('_', '-')}" for name, value in options.items() if value is True]
    command = ["-m", "sglang.launch_server", "--model-path", str(resolve_model("tiny")), "--host", "127.0.0.1"]
    return [*command, "--port", str(port), *(flags or ["--dtype=float32"])], environment


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=10):
                return
        except (urllib.error.URLError, OSError):
            pass
        if process.poll() is not None:
            break
        time.sleep(0.5)
    raise RuntimeError(f"The server did not start:\n{log.read_text(errors='replace')[-4000:]}")
