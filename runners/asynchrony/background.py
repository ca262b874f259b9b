"""A Sampler that works in a thread of its own: whoever calls finds it between two rounds."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from agents import Agent, SamplingParams, StreamingAgent
from runners.sampling.group import Group
from runners.sampling.rollout import Rollout, SampledTokens, SampleRequest, SampleResult
from runners.sampling.sampler import Sampler
from runners.settings import InFlight

# A round waits this long for a completion, in seconds: so long may a caller have to wait for its turn.
_ROUND_S = 0.02
_IDLE_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledGroup:
    """One group that has ended, and when it began and ended, in seconds since 1970."""

    group_id: int
    rollouts: list[Rollout]
    begun_at: float
    ended_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What came of the groups that a caller waits for.

    Attributes:
        groups: Those that have ended.
        too_long: Ids of those whose prompt is longer than allowed.
        unknown: Ids of those that are not here: an error ended them, or they were begun before this process.
        idle_s: Seconds since the last call in which nothing was sampled.
    """

    groups: list[SampledGroup] = field(default_factory=list)
    too_long: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    idle_s: float = 0.0


def check_streams(agent: Agent, engine: str, in_flight: InFlight) -> None:
    """Refuses an agent that cannot be sampled with in the background.

    Raises:
        ValueError: If it does not stream, or cannot load weights while completions are open.
    """
    if not isinstance(agent, StreamingAgent):
        raise ValueError(f"max_staleness needs an engine that streams (submit, poll); {engine!r} does not.")
    if in_flight == "continue" and not getattr(agent, "loads_in_flight", False):
        raise ValueError(
            f'in_flight="continue", but it must be "finish" with engine {engine!r}: it takes no weights while '
            "completions are open."
        )


class BackgroundSampler:
    """Plays groups in a thread; `sample` and `probe` work beside it, and let it go on meanwhile.

    Args:
        sampler: Not used by anybody else.
        in_flight: What becomes of open completions when weights come: "finish" waits for their end under the old ones,
            and lets nothing new begin meanwhile; "continue" goes on with them under the new ones.
        round_timeout_s: Seconds that a round may take: an environment or an engine that hangs for longer ends this
            process, with the stack of what hung in its log.
    """

    def __init__(self, sampler: Sampler, in_flight: InFlight, *, round_timeout_s: float) -> None:
        self._sampler, self._in_flight, self._round_timeout_s = sampler, in_flight, round_timeout_s
        self._turn, self._callers = threading.Lock(), 0
        self._news = threading.Condition()
        self._groups: dict[int, Group] = {}
        self._too_long: set[int] = set()
        self._error: BaseException | None = None
        self._idle_s = 0.0
        self._round_began: float | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="background-sampler", daemon=True)
        self._thread.start()

    def begin(self, request: SampleRequest) -> None:
        """Begins groups; `collect` gives them back. Raises as `Sampler.begin` does."""
        with self._taking_turns():
            groups = {group.reset.group_id: group for group in self._sampler.begin(request)}
            with self._news:
                self._groups |= groups
                self._too_long |= {reset.group_id for reset in request.resets} - groups.keys()

    def collect(self, wanted: Sequence[int], timeout_s: float) -> Collected:
        """Returns what has become of groups, once there is anything to say or `timeout_s` is over.

        Args:
            wanted: Their ids.
            timeout_s: Seconds to wait.

        Raises:
            Exception: What ended the thread's last round, as it was raised; its groups are unknown from then on.
        """
        self._end_if_hung()
        with self._news:
            unknown = sorted(set(wanted) - self._groups.keys() - self._too_long)
            self._news.wait_for(lambda: self._too_long or unknown or self._error or self._ended(), timeout_s)
            error, self._error = self._error, None
            if error is not None:
                raise error
            groups = [self._groups.pop(number) for number in self._ended()]
            too_long, self._too_long = sorted(self._too_long), set()
            idle_s, self._idle_s = self._idle_s, 0.0
        return Collected(
            groups=[
                SampledGroup(
                    group_id=group.reset.group_id,
                    rollouts=group.rollouts(),
                    begun_at=group.begun_at,
                    ended_at=group.ended_at,
                )
                for group in groups
            ],
            too_long=too_long,
            unknown=unknown,
            idle_s=idle_s,
        )

    def sample(self, request: SampleRequest) -> SampleResult:
        """Samples every group of `request`, as `Sampler.sample` does; the thread's own go on in its rounds."""
        with self._taking_turns():
            return self._sampler.sample(request)

    def probe(self, sampling: SamplingParams, prompts: Sequence[Sequence[int]] | None = None) -> list[SampledTokens]:
        """Returns a completion of each of some prompts, as `Sampler.probe` does."""
        with self._taking_turns():
            return self._sampler.probe(sampling, prompts)

    @contextmanager
    def loading_weights(self) -> Iterator[None]:
        """Holds the thread while weights come; open completions are finished before, or go on behind it."""
        with self._taking_turns():
            while self._in_flight == "finish" and self._sampler.num_completing:
                self._sampler.advance(_ROUND_S, submit=False)
            yield

    def forget_all(self) -> None:
        """Gives up all that is open: their groups are unknown from then on."""
        with self._taking_turns():
            self._sampler.forget_all()
            self._forget_open()

    def close(self) -> None:
        """Ends the thread."""
        self._closed = True
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        while not self._closed:
            if self._callers:
                time.sleep(1e-3)  # a lock is not fair: who waits for it would wait for ever
                continue
            with self._turn:
                busy = bool(self._sampler.num_open)
                if busy:
                    self._round()
            if not busy:
                time.sleep(_IDLE_S)
                self._idle_s += _IDLE_S

    def _round(self) -> None:
        self._round_began = time.monotonic()
        try:
            self._sampler.advance(_ROUND_S)
        except BaseException as error:  # is raised again by `collect`
            self._error = error
            self._forget_open()
        self._round_began = None
        with self._news:
            self._news.notify_all()

    def _forget_open(self) -> None:
        with self._news:
            self._groups = {number: group for number, group in self._groups.items() if not group.num_open}

    def _ended(self) -> list[int]:
        return [number for number, group in self._groups.items() if not group.num_open]

    @contextmanager
    def _taking_turns(self) -> Iterator[None]:
        self._callers += 1
        try:
            with self._turn:
                yield
        except BaseException:
            if not self._sampler.num_open:  # an error of the engine has ended all that was open
                self._forget_open()
            raise
        finally:
            self._callers -= 1

    def _end_if_hung(self) -> None:
        began = self._round_began
        if began is not None and time.monotonic() - began > self._round_timeout_s:
            print(f"A round of sampling took more than {self._round_timeout_s:g} s:", file=sys.stderr)
            faulthandler.dump_traceback(all_threads=True)
            os._exit(1)
