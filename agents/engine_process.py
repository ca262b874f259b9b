"""An inference engine in a process of its own: what crashes or hangs there is an `EngineError` here.

vLLM and SGLang are run this way because neither can be timed out, killed or started anew inside the caller's process,
and SGLang's shutdown kills all children of the process it runs in.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

from agents.base import EngineError

# How often a waiting caller looks whether the process still lives, in seconds; an answer is seen at once.
_POLL_S = 0.2
_LOG_LINES = 15


class EngineProcess:
    """Runs one engine in a child process and calls its methods.

    Args:
        target: "package.module:Class" of the engine, as `agents.engine_child` has it.
        options: Keyword arguments of that class.
        environment: Environment variables for the child, on top of this process's own.
        timeout_s: Seconds without an answer or a sign of progress after which a call counts as hung.
        start_timeout_s: The same for the start, which loads and may compile the model.

    Raises:
        ValueError: If the engine refuses its options; the message is the engine's own.
        EngineError: If the engine cannot be started.
    """

    def __init__(
        self,
        target: str,
        options: Mapping[str, Any],
        *,
        environment: Mapping[str, str],
        timeout_s: float,
        start_timeout_s: float,
    ) -> None:
        self.timeout_s = timeout_s
        self._outputs: list[Any] = []
        self._heard = time.monotonic()
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - read for as long as the engine may fail
        ours, theirs = socket.socketpair()
        # A hung child reads nothing and can stop in the middle of an answer: neither may block this side for ever.
        bound = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6))
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bound)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bound)
        lifeline, self._lifeline = os.pipe()
        self._process = subprocess.Popen(
            # -P: the directory the user happens to stand in must not shadow an engine's modules.
            [sys.executable, "-P", "-m", "agents.engine_child", str(theirs.fileno()), str(lifeline)],
            env=_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            pass_fds=(theirs.fileno(), lifeline),
            start_new_session=True,
        )
        theirs.close()
        os.close(lifeline)
        self._connection = Connection(ours.detach())
        self._finalizer = weakref.finalize(self, _end, self._process, self._connection, self._lifeline)
        try:
            self._send((target, dict(options)))
            self._receive("start", start_timeout_s)
        except (ValueError, EngineError):
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Process id of the engine; also the id of its process group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def call(self, method: str, *arguments: Any) -> Any:
        """Returns `engine.method(*arguments)`.

        Raises:
            ValueError: If the engine refuses the arguments.
            EngineError: If the engine failed, died or gave no sign for `timeout_s`; the process is gone then, unless
                the engine itself reported the failure.
        """
        self._send((method, arguments))
        return self._receive(method, self.timeout_s)

    def poll(self, timeout_s: float) -> list[Any]:
        """Returns what the engine's `work` has given since the last call, waiting for it at most `timeout_s`.

        To be called only while the engine has work.

        Raises:
            EngineError: As `call`.
        """
        until = time.monotonic() + timeout_s
        while True:
            left = 0.0 if self._outputs else max(0.0, until - time.monotonic())
            if self._next(min(_POLL_S, left), "work", self.timeout_s) is None and not left:
                break
        outputs, self._outputs = self._outputs, []
        return outputs

    def close(self) -> None:
        """Ends the process and its children."""
        self._finalizer()

    def _send(self, message: Any) -> None:
        self._check_not_closed()
        try:
            self._connection.send(message)
        except OSError as error:
            raise self._gone("the engine took no more requests") from error

    def _receive(self, doing: str, timeout_s: float) -> Any:
        self._heard = time.monotonic()
        while True:
            kind, value = self._next(_POLL_S, doing, timeout_s) or (None, None)
            if kind == "done":
                return value
            if kind == "invalid":
                raise ValueError(f"The engine refused {doing!r}: {value}")

    def _next(self, wait_s: float, doing: str, timeout_s: float) -> tuple[str, Any] | None:
        """Returns the next message, or None where none came; what the engine gave by itself is kept for `poll`."""
        self._check_not_closed()
        try:
            arrived = self._connection.poll(wait_s)
            message: tuple[str, Any] = self._connection.recv() if arrived else ("", None)
        except (EOFError, OSError) as error:
            raise self._gone(f"lost during {doing!r}") from error
        if not arrived:
            if not self.alive:
                raise self._gone(f"lost during {doing!r}")
            if time.monotonic() - self._heard > timeout_s:
                raise self._gone(f"no progress for {timeout_s:g} s during {doing!r}")
            return None
        self._heard = time.monotonic()
        kind, value = message
        if kind == "failed":
            raise EngineError(f"The engine failed during {doing!r}: {value}\n{self._log_tail()}")
        if kind == "outputs":
            self._outputs += value
        return message

    def _check_not_closed(self) -> None:
        if not self._finalizer.alive:
            raise EngineError("The engine has ended. Call restart() before using the agent again.")

    def _gone(self, what: str) -> EngineError:
        """Ends the process and returns the error that names the cause."""
        # A process that is just dying needs a moment until its exit status can be read.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1.0)
        status = self._process.returncode
        if status is None:
            cause = "it was still running and has been killed"
        elif status < 0:
            hint = " (out of memory, or killed by hand)" if status == -signal.SIGKILL else ""
            cause = f"it was ended by {signal.Signals(-status).name}{hint}"
        else:
            cause = f"it exited with status {status}"
        tail = self._log_tail()
        self.close()
        return EngineError(f"The engine process {self.pid} is gone: {what}; {cause}.\n{tail}")

    def _log_tail(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        lines = os.pread(self._log.fileno(), 20_000, max(0, size - 20_000)).decode(errors="replace").splitlines()
        return "\n".join(["Its last output:", *lines[-_LOG_LINES:]]) if lines else "It printed nothing."


def require(package: str) -> None:
    """Raises ModuleNotFoundError if the package is not installed, as its import in the child would, but at once."""
    if importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Returns the child's environment: this one's, `extra`, and this process's import path behind that of `extra`."""
    # The child imports this very package and what the caller can import, wherever they were found.
    path = filter(None, [extra.get("PYTHONPATH"), str(Path(__file__).parent.parent), *sys.path])
    return {**os.environ, **extra, "PYTHONPATH": os.pathsep.join(dict.fromkeys(path))}


def _end(process: subprocess.Popen[bytes], connection: Connection, lifeline: int) -> None:
    """Kills the process group: the engine, and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    connection.close()
    os.close(lifeline)
