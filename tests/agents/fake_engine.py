"""An engine for `EngineProcess` that fails on request."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable


class FakeEngine:
    def __init__(self, fault: str | None = None) -> None:
        if fault == "unknown option":
            raise TypeError("no option called 'fault'")
        if fault == "exit":
            print("cannot find the device", flush=True)
            os._exit(3)
        if fault == "slow start":
            time.sleep(60)
        self.child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

    def child_pid(self, progress: Callable[[], None]) -> int:
        return self.child.pid

    def environment(self, name: str, progress: Callable[[], None]) -> str | None:
        return os.environ.get(name)

    def echo(self, value: object, progress: Callable[[], None]) -> object:
        return value

    def work(self, seconds: float, progress: Callable[[], None]) -> str:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.05)
            progress()
        return "worked"

    def sleep(self, seconds: float, progress: Callable[[], None]) -> None:
        time.sleep(seconds)

    def fail(self, kind: str, progress: Callable[[], None]) -> None:
        raise ValueError("a bad request") if kind == "value" else RuntimeError("a broken engine")

    def die(self, progress: Callable[[], None]) -> None:
        os._exit(7)
