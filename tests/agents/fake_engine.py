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
        self.open: dict[str, tuple[float, str | None]] = {}
        self.child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

    def child_pid(self) -> int:
        return self.child.pid

    def environment(self, name: str) -> str | None:
        return os.environ.get(name)

    def echo(self, value: object) -> object:
        return value

    def begin(self, name: str, seconds: float, fault: str | None = None) -> None:
        self.open[name] = (time.monotonic() + seconds, fault)

    def work(self, progress: Callable[[], None]) -> list[str] | None:
        if not self.open:
            return None
        time.sleep(0.05)
        progress()
        ended = [name for name, (end, _) in self.open.items() if time.monotonic() >= end]
        if any(self.open.pop(name)[1] for name in ended):
            raise RuntimeError("a broken step")
        return ended

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def fail(self, kind: str) -> None:
        raise ValueError("a bad request") if kind == "value" else RuntimeError("a broken engine")

    def die(self) -> None:
        os._exit(7)
