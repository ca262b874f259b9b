"""SIGINT and SIGTERM: the step in progress is the last, and has a bounded time to end."""

from __future__ import annotations

import signal
import sys
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Notes the first signal; used as a context manager in the main thread.

    The second signal, and the end of the time that the step has, raise KeyboardInterrupt. Python runs signal handlers
    between two of its own instructions: a call into C code that does not return is waited for.

    Args:
        seconds: What the step in progress and its checkpoint have after the first signal.

    Attributes:
        seen: Whether there was a signal.
    """

    def __init__(self, seconds: float) -> None:
        self.seen = False
        self._seconds = seconds

    def __enter__(self) -> Interrupts:
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.seen:
            raise KeyboardInterrupt
        self.seen = True
        signal.setitimer(signal.ITIMER_REAL, self._seconds)
        print(
            f"\nInterrupted: finishing this step and writing a checkpoint, for at most {self._seconds:g} s (again: "
            "stop at once).",
            file=sys.stderr,
        )

    def _stop(self, number: int, frame: FrameType | None) -> None:
        print(f"The step did not end within {self._seconds:g} s (interrupt_s).", file=sys.stderr)
        raise KeyboardInterrupt
