"""The child's side of `agents.engine_process`: makes one engine, answers calls, and lets it work between them."""

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
from typing import Any, Protocol

PROGRESS_INTERVAL_S = 1.0


class Engine(Protocol):
    """What works here; its other methods are what the parent calls."""

    def work(self, progress: Callable[[], None]) -> list[Any] | None:
        """Does one step of what calls have begun, and calls `progress` if it has come any further.

        Returns:
            What it has finished; None if there is nothing to do.
        """
        ...


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
    progress, busy = _progress(connection), False
    while True:
        if busy and not connection.poll():
            busy = _work(connection, engine, progress)
            continue
        try:
            method, arguments = connection.recv()
        except EOFError:
            return
        _answer(connection, lambda: getattr(engine, method)(*arguments), (ValueError,))  # noqa: B023
        busy = True


def _work(connection: Connection, engine: Engine, progress: Callable[[], None]) -> bool:
    """Lets the engine do a step and sends what it has finished; returns whether there was anything to do.

    A step that fails ends this process: what was open is lost, and nobody can say what else.
    """
    try:
        finished = engine.work(progress)
    except Exception as error:
        connection.send(("failed", f"{type(error).__name__}: {error}"))
        raise
    if finished:
        connection.send(("outputs", finished))
    return finished is not None


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
    # Engines leave threads and children behind that can block a normal exit.
    os.killpg(os.getpgrp(), signal.SIGKILL)
