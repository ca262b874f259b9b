"""Calls to env runners and learners: each is a method of a noun that they hold, answers and errors come back.

A call is an `operator.methodcaller`. What it raises returns as a value, since RLlib ends the process of a worker whose
call raises, and a wrong setting would become an endless row of restarts. RLlib's calls and their traps are known here
alone: its public `foreach_env_runner` returns no answer for a worker that died or is late, and no ids beside the
answers; `foreach_learner` takes callables only, and leaves out a learner that it knows to be dead.

A worker that hangs cannot be ended from outside by public means: a remote env runner ends itself at its call's
deadline, with the stack of what hung in its log, and Ray starts it anew. A learner's state is lost with it, so the run
ends.
"""

from __future__ import annotations

import faulthandler
import logging
import operator
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from ray.exceptions import RayActorError, RayError
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from agents import EngineError

logger = logging.getLogger(__name__)

Call = Callable[[Any], Any]
_MAX_ATTEMPTS = 4
_GRACE_S = 5.0  # between the deadline at which a worker ends itself and the one at which nobody waits for it any more


class WorkerLost(RuntimeError):
    """A process that the run cannot go on without has died, hangs, or did not come back in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What a call returned or raised, and where."""

    worker: int
    value: Any = None
    error: Exception | None = None


class EnvRunners:
    """What the env runners of a group hold under one name; the local one's where there is no other.

    Args:
        group: RLlib's.
        noun: "sampler", "receiver" or another attribute of `TextEnvRunner`.
        timeout_s: Bound on a round of calls to remote env runners, in seconds.
    """

    def __init__(self, group: EnvRunnerGroup, noun: str, *, timeout_s: float) -> None:
        self._group, self._noun, self._timeout_s = group, noun, timeout_s

    def ids(self) -> list[int]:
        """Returns the ids of the env runners that do the work; 0 is the local one."""
        return self._group.healthy_env_runner_ids() if self._group.num_remote_env_runners() else [0]

    def call(self, calls: Mapping[int, Call]) -> dict[int, Any]:
        """Makes a call on each of some env runners; returns the answers of those that lived to give one, by id.

        Raises:
            Exception: What a call raised, as it raised it; but an `EngineError` is a warning and no answer.
        """
        if not calls:
            return {}
        function = partial(_answer, calls=calls, noun=self._noun, deadline_s=self._timeout_s)
        if list(calls) == [0]:
            answers = [function(self._group.local_env_runner)]
        else:
            answers = self._group.foreach_env_runner(
                function,
                local_env_runner=False,
                remote_worker_ids=list(calls),
                timeout_seconds=self._timeout_s + _GRACE_S,
            )
        for answer in answers:
            if isinstance(answer.error, EngineError):
                logger.warning("The engine of env runner %d failed: %s", answer.worker, answer.error)
            elif answer.error is not None:
                raise answer.error
        if silent := calls.keys() - {answer.worker for answer in answers}:
            logger.warning("Env runners %s died, or did not answer within %g s", sorted(silent), self._timeout_s)
        return {answer.worker: answer.value for answer in answers if answer.error is None}

    def call_all(self, call: Call) -> dict[int, Any]:
        """Makes the same call on every env runner; returns the answers by id."""
        return self.call(dict.fromkeys(self.ids(), call))

    def share_out(self, calls: Sequence[Call], *, restore: Callable[[], None]) -> list[Any]:
        """Makes each call on one env runner or another; returns the answers in the calls' order.

        Where an env runner dies, is late, or has its engine fail, `restore` is called and the call repeated by
        whichever env runner is free: a call must therefore bring its own seeds.

        Args:
            calls: What is to be done.
            restore: Brings dead env runners and engines back, with the current weights.

        Raises:
            WorkerLost: If a call is still unanswered after several attempts.
            Exception: What a call raised, as it raised it.
        """
        results: dict[int, Any] = {}
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            open_ = [number for number in range(len(calls)) if number not in results]
            workers = self.ids()
            for start in range(0, len(open_), len(workers) or len(open_)):
                shares = dict(zip(workers, open_[start : start + len(workers)], strict=False))
                answers = self.call({worker: calls[number] for worker, number in shares.items()})
                results |= {shares[worker]: value for worker, value in answers.items()}
            if len(results) == len(calls):
                return [results[number] for number in range(len(calls))]
            logger.warning(
                "%d of %d calls to env runners failed (attempt %d of %d): restoring env runners and engines",
                len(calls) - len(results),
                len(calls),
                attempt,
                _MAX_ATTEMPTS,
            )
            restore()
        raise WorkerLost(
            f"{len(calls) - len(results)} of {len(calls)} calls to env runners failed {_MAX_ATTEMPTS} times in a row; "
            f"env runners alive: {self.ids() or 'none'}. The warnings above say why each one stopped."
        )


class Learners:
    """What the learners of a group hold under one name.

    Args:
        group: RLlib's.
        noun: "updater", "sender", or "" for the learner itself.
        together: Whether rank 0 has an answer only if all are asked, as sharded ranks do.
        timeout_s: Bound on a call to remote learners, in seconds; one in this process has none.
    """

    def __init__(self, group: LearnerGroup, noun: str, *, together: bool, timeout_s: float) -> None:
        self._group, self._noun, self._together, self._timeout_s = group, noun, together, timeout_s

    def ask(self, call: Call) -> Any:
        """Returns rank 0's answer.

        Raises:
            WorkerLost: If a learner has died or is late.
            Exception: What a learner raised.
        """
        return self._call(call, None if self._together or self._group.is_local else [0])[0]

    def tell(self, call: Call) -> list[Any]:
        """Makes the call on every learner and returns their answers. Raises as `ask` does."""
        return self._call(call, None)

    def _call(self, call: Call, ids: list[int] | None) -> list[Any]:
        function = partial(_answer, calls={0: call}, noun=self._noun)
        results = self._group.foreach_learner(function, remote_actor_ids=ids, timeout_seconds=self._timeout_s)
        answers = {result.actor_id or 0: result.get() for result in results}
        # One that died first: what the others raise then is that it was gone.
        for number, answer in answers.items():
            if isinstance(answer, RayError):
                raise WorkerLost(f"Learner {number} is gone, and its state with it: {_in_a_line(answer)}") from answer
        if missing := set(ids or range(max(1, len(self._group)))) - answers.keys():
            raise WorkerLost(f"Learners {sorted(missing)} have died, or did not answer within {self._timeout_s:g} s.")
        for answer in answers.values():
            if answer.error is not None:
                raise answer.error
        return [answers[number].value for number in sorted(answers)]


@contextmanager
def lost_learners_named() -> Iterator[None]:
    """For calls to learners that RLlib makes by itself, as it does for a checkpoint: a dead one is a `WorkerLost`."""
    try:
        yield
    except RayActorError as error:
        raise WorkerLost(f"A learner is gone, and its state with it: {_in_a_line(error)}") from error


def _in_a_line(error: RayError) -> str:
    """Returns what Ray says of a dead actor, without the table of its ids that stands indented within."""
    lines = str(error).splitlines()
    return " ".join(
        line.strip() for line in lines if not re.match(r"\s+(class_name|actor_id|pid|namespace|name|ip): ", line)
    )


def _answer(worker: Any, *, calls: Mapping[int, Call], noun: str, deadline_s: float | None = None) -> _Answer:
    """Makes this worker's call, where it lives; a remote env runner ends its process at the deadline."""
    number = getattr(worker, "worker_index", None) or 0
    watched = deadline_s is not None and number > 0
    if deadline_s is not None and number > 0:
        # A thread of C code, which needs no lock of Python's; 2 is stderr.
        faulthandler.dump_traceback_later(deadline_s, exit=True, file=2)
    try:
        return _Answer(worker=number, value=calls[number](operator.attrgetter(noun)(worker) if noun else worker))
    except Exception as error:
        if isinstance(error, EngineError):
            worker.engine_failed = True
        error.add_note(f"Raised in {type(worker).__name__} {number}:\n{traceback.format_exc()}")
        return _Answer(worker=number, error=error)
    finally:
        if watched:
            faulthandler.cancel_dump_traceback_later()
