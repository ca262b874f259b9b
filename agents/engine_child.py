"""The child's side of `agents.engine_process`: makes one engine and answers calls until the parent is gone."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

PROGRESS_INTERVAL_S = 1.0


def _progress(connection: Connection) -> Callable[[], None]:
    """Returns what tells the parent, at most once a second, that the engine is alive and working."""
    last = 0.0

    def report() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_INTERVAL_S:
            last = now
            connection.send(("progress", None))

    return report


def _die_with_parent(lifeline: int) -> None:
    """Kills this process group once the parent's end of the pipe is closed, which its death does."""

    def watch() -> None:
        while os.read(lifeline, 1):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def _answer(connection: Connection, call: Any, refusals: tuple[type[Exception], ...]) -> bool:
    """Sends the outcome of `call()`, where `refusals` are the caller's fault; returns whether it succeeded."""
    try:
        result = call()
    # Whatever an engine raises belongs to the parent, which turns it into an EngineError or a ValueError.
    except Exception as error:
        traceback.print_exc()
        connection.send(("invalid" if isinstance(error, refusals) else "failed", f"{type(error).__name__}: {error}"))
        return False
    connection.send(("done", result))
    return True


def main(connection_fd: int, lifeline_fd: int) -> None:
    """Serves one engine over the pipe `connection_fd`."""
    # The engine's own children must not hold the pipes open after this process has died.
    os.set_inheritable(connection_fd, False)
    os.set_inheritable(lifeline_fd, False)
    _die_with_parent(lifeline_fd)
    connection = Connection(connection_fd)
    target, options = connection.recv()
    module, _, attribute = target.partition(":")
    engine: Any = None

    def start() -> None:
        nonlocal engine
        engine = getattr(importlib.import_module(module), attribute)(**options)

    # An unknown option is a TypeError of the engine, an unfit one often a failed assertion.
    if not _answer(connection, start, (ValueError, TypeError, AssertionError)):
        return
    progress = _progress(connection)
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:
            return
        _answer(connection, lambda: getattr(engine, method)(*arguments, progress), (ValueError,))  # noqa: B023


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
    # Engines leave threads and children behind that can block a normal exit.
    os.killpg(os.getpgrp(), signal.SIGKILL)
