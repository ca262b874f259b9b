"""Nodes of `launch/node.sh`, all on this machine."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]


class Nodes:
    """Starts nodes of one job.

    Args:
        folder: For Ray's files and each node's output.

    Attributes:
        port: Where the first node listens.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._processes = folder, []
        with socket.socket() as free:
            free.bind(("", 0))
            self.port = free.getsockname()[1]
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SKYPILOT_"))},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_TMPDIR": str(folder),
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            # Ray misses a dead node after 5 s instead of 25; how long it waits for the answer of a living one stays.
            "RAY_health_check_period_ms": "1000",
            "RAY_worker_niceness": "0",  # Ray's workers have 15: on a machine with other work they do not get to start
            "SKYPILOT_NUM_NODES": "2",
            "SKYPILOT_NODE_IPS": "127.0.0.1\n127.0.0.1",
            "NODES_PORT": str(self.port),
            "NODES_WAIT_S": "120",
        }

    def start(self, rank: int, command: list[str], **variables: str) -> subprocess.Popen:
        """Starts a node; its output is in `output(rank)`."""
        environment = {**self._environment, "SKYPILOT_NODE_RANK": str(rank), **variables}
        with (self.folder / f"node{rank}.log").open("w") as log:
            process = subprocess.Popen(
                ["bash", str(ROOT / "launch" / "node.sh"), *command],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def output(self, rank: int) -> str:
        return (self.folder / f"node{rank}.log").read_text()

    def raylet(self, node: subprocess.Popen) -> psutil.Process | None:
        """A node's raylet, once it runs."""
        below = psutil.Process(node.pid).children(recursive=True)
        return next((process for process in below if process.name() == "raylet"), None)

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                node = psutil.Process(process.pid)
                for one in [node, *node.children(recursive=True)]:
                    with suppress(psutil.NoSuchProcess):
                        one.kill()
            process.wait(30)
