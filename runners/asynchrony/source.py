"""Where a step's groups come from while sampling and update overlap."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from operator import methodcaller
from typing import Any, Protocol

import numpy as np

from runners.asynchrony.background import Collected
from runners.asynchrony.pending import PendingGroups
from runners.sampling.problems import ProblemSampler
from runners.sampling.refills import StepSample
from runners.sampling.rollout import GroupReset, Rollout, SampleRequest

_COLLECT_S = 0.1
_MAX_FAILURES = 4


class Samplers(Protocol):
    """The env runners' `BackgroundSampler`s, wherever they are; one that fails gives no answer."""

    def ids(self) -> list[int]:
        """Returns the ids of those that live."""
        ...

    def call(self, calls: Mapping[int, Callable[[Any], Any]]) -> dict[int, Any]:
        """Returns the answers by id."""
        ...


class AsynchronousGroups:
    """The groups of each step, sampled at most `max_staleness` updates before the one that takes them.

    The env runners sample by themselves. A step tells them what to begin, collects what has ended, and takes its own;
    what is under way goes on during the update.

    Args:
        samplers: Who samples.
        problems: What comes next.
        request: Returns the request for some problems.
        num_prompts: N, groups of a step.
        max_staleness: k, most updates between a group's beginning and the one that takes it.
        timeout_s: Seconds without any group that ends, after which the run ends.
        restore: Brings env runners and engines back that have failed, with the current weights.
        policy_version: Returns that of the weights that the step's update starts from.
        too_long: Returns the error where no prompt is short enough.
        lost: Returns the error where nobody samples any more, with a message.
    """

    def __init__(
        self,
        samplers: Samplers,
        problems: ProblemSampler,
        request: Callable[[list[GroupReset]], SampleRequest],
        *,
        num_prompts: int,
        max_staleness: int,
        timeout_s: float,
        restore: Callable[[], None],
        policy_version: Callable[[], int],
        too_long: Callable[[], Exception],
        lost: Callable[[str], Exception],
    ) -> None:
        self._samplers, self._problems, self._request = samplers, problems, request
        self._num_prompts, self._timeout_s = num_prompts, timeout_s
        self._restore, self._policy_version = restore, policy_version
        self._too_long, self._lost = too_long, lost
        self._pending = PendingGroups(problems.draw, num_prompts, max_staleness)

    def next(self) -> StepSample:
        """Returns the groups of the next step, once all are sampled.

        Raises:
            Exception: `lost`, if no group has ended for `timeout_s`, or samplers go on failing.
            Exception: What a sampler raised, as it raised it.
        """
        num_dropped, failures, idle_s, heard = 0, 0, 0.0, time.monotonic()
        while True:
            whole = self._begin()
            collected = self.collect(0.0 if self._pending.ready else _COLLECT_S)
            whole = whole and None not in collected
            for answer in filter(None, collected):
                num_dropped += len(answer.too_long)
                idle_s += answer.idle_s
                if answer.groups or answer.too_long:
                    heard, failures = time.monotonic(), 0
            if self._problems.none_fits(num_dropped, self._num_prompts):
                raise self._too_long()
            if self._pending.ready:
                rollouts = [rollout for group in self._pending.take() for rollout in group.rollouts]
                measures = {**self._staleness(rollouts), "engine_idle_s": idle_s}
                return StepSample(rollouts=rollouts, num_dropped_prompts=num_dropped, measures=measures)
            if not whole:
                failures += 1
                if failures == _MAX_FAILURES:
                    raise self._lost(f"Env runners failed {failures} times in a row; the warnings above say why.")
                self._restore()
            if time.monotonic() - heard > self._timeout_s:
                raise self._lost(f"No group was sampled within sample_timeout_s={self._timeout_s:g}.")

    def collect(self, wait_s: float = 0.0) -> list[Collected | None]:
        """Takes what has ended, from everyone who samples.

        Args:
            wait_s: Seconds that each is given to have something.

        Returns:
            What each has to say; None of one that failed: its groups begin again.
        """
        calls = {
            worker: methodcaller("collect", self._pending.of(worker), wait_s) for worker in self._pending.workers()
        }
        answers: dict[int, Collected] = self._samplers.call(calls)
        for worker in calls.keys() - answers.keys():
            self._pending.lose(self._pending.of(worker))
        for answer in answers.values():
            self._pending.end(answer.groups)
            self._pending.drop(answer.too_long)
            self._pending.lose(answer.unknown)
        return [answers.get(worker) for worker in calls]

    def get_state(self) -> Any:
        """Returns what was sampled and not taken; what is under way is sampled again."""
        self.collect()
        return self._pending.get_state()

    def set_state(self, state: Any) -> None:
        """Goes on from `get_state`."""
        self._pending.set_state(state)

    def _begin(self) -> bool:
        """Has the samplers begin what may begin, the oldest where least is under way; returns whether all live."""
        alive = self._samplers.ids()
        for worker in self._pending.workers() - set(alive):
            self._pending.lose(self._pending.of(worker))
        shares: dict[int, list[GroupReset]] = {worker: [] for worker in alive}
        open_ = {worker: len(self._pending.of(worker)) for worker in alive}
        for reset in self._pending.to_begin() if alive else ():
            worker = min(alive, key=lambda worker: open_[worker] + len(shares[worker]))
            shares[worker].append(reset)
        calls = {worker: methodcaller("begin", self._request(share)) for worker, share in shares.items() if share}
        answers = self._samplers.call(calls)
        for worker in answers:
            self._pending.give(worker, shares[worker])
        return bool(alive) and answers.keys() == calls.keys()

    def _staleness(self, rollouts: list[Rollout]) -> dict[str, float]:
        version = self._policy_version()
        stale = version - np.concatenate([rollout.own_policy_versions() for rollout in rollouts])
        return {"staleness_mean": float(stale.mean()), "staleness_max": float(stale.max())}
