"""Calls to the env runners that wait, surface errors, and repeat what a dead env runner or engine left undone."""

from __future__ import annotations

import functools
import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ray.rllib.env.env_runner_group import EnvRunnerGroup

from agents import EngineError

logger = logging.getLogger(__name__)

T = TypeVar("T")
_MAX_ATTEMPTS = 4


def call_env_runners(
    group: EnvRunnerGroup,
    tasks: Sequence[Callable[[Any], T]],
    *,
    timeout_s: float,
    restore: Callable[[], None],
) -> list[T]:
    """Runs each task on one env runner and returns the results in the tasks' order.

    Where an env runner dies, does not answer within `timeout_s`, or has its engine fail, `restore` is called and the
    task repeated by whichever env runner is free: a task must therefore bring its own seed.

    Args:
        group: The env runners; the local one does the work where there is no other.
        tasks: Functions of an env runner.
        timeout_s: Bound on one round of calls to remote env runners, in seconds.
        restore: Brings dead env runners and engines back, with the current weights.

    Raises:
        RuntimeError: If a task is still undone after several attempts.
        Exception: What a task raised, as it raised it.
    """
    results: dict[int, T] = {}
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        workers = env_runner_ids(group)
        undone = [number for number in range(len(tasks)) if number not in results]
        for start in range(0, len(undone), len(workers) or len(undone)):
            round_ = {number: tasks[number] for number in undone[start : start + len(workers)]}
            results.update(_call_round(group, round_, workers, timeout_s))
        if len(results) == len(tasks):
            return [results[number] for number in range(len(tasks))]
        logger.warning(
            "%d of %d calls to env runners failed (attempt %d of %d): restoring env runners and engines",
            len(tasks) - len(results),
            len(tasks),
            attempt,
            _MAX_ATTEMPTS,
        )
        restore()
    raise RuntimeError(
        f"{len(tasks) - len(results)} of {len(tasks)} calls to env runners failed {_MAX_ATTEMPTS} times in a row; "
        f"env runners alive: {env_runner_ids(group) or 'none'}. The warnings above say why each one stopped."
    )


def broadcast(group: EnvRunnerGroup, task: Callable[[Any], T], *, timeout_s: float) -> list[T]:
    """Runs a task on every living env runner, waits for all of them, and returns the results of those that answered.

    Raises:
        Exception: What the task raised, as it raised it.
    """
    return list(call_each(group, lambda number: task, timeout_s=timeout_s).values())


def call_each(group: EnvRunnerGroup, task_of: Callable[[int], Callable[[Any], T]], *, timeout_s: float) -> dict[int, T]:
    """Does what `broadcast` does with a task of its own for every env runner id; returns the results by id."""
    workers = env_runner_ids(group)
    return _call_round(group, {number: task_of(number) for number in workers}, workers, timeout_s)


def env_runner_ids(group: EnvRunnerGroup) -> list[int]:
    """Returns the ids of the env runners that do the work; 0 is the local one."""
    return group.healthy_env_runner_ids() if group.num_remote_env_runners() else [0]


def _call_round(
    group: EnvRunnerGroup, tasks: dict[int, Callable[[Any], T]], workers: list[int], timeout_s: float
) -> dict[int, T]:
    """Gives each task to one env runner; returns the results of those that answered, by task number."""
    functions = [functools.partial(_answer, number=number, task=task) for number, task in tasks.items()]
    if workers == [0]:
        answers = [function(group.local_env_runner) for function in functions]
    else:
        answers = _remote_answers(group, functions, workers, timeout_s)
    for answer in answers:
        if isinstance(answer.error, EngineError):
            logger.warning("The engine of env runner %d failed: %s", answer.env_runner, answer.error)
        elif answer.error is not None:
            raise answer.error
    return {answer.number: answer.value for answer in answers if answer.error is None}


def _remote_answers(
    group: EnvRunnerGroup, functions: Sequence[Callable[[Any], _Answer]], workers: list[int], timeout_s: float
) -> list[_Answer]:
    """Returns the answers of the env runners that live to give one."""
    # The public foreach_env_runner does not say whose answer is missing, or why.
    results = group._worker_manager.foreach_actor(
        list(functions), remote_actor_ids=workers[: len(functions)], timeout_seconds=timeout_s
    )
    for result in results:
        if not result.ok:
            logger.warning("Env runner %d died: %s", result.actor_id, str(result.get()).strip().splitlines()[0])
    return [result.get() for result in results if result.ok]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What a task returned or raised, and where."""

    number: int
    env_runner: int
    value: Any = None
    error: Exception | None = None


def _answer(env_runner: Any, *, number: int, task: Callable[[Any], Any]) -> _Answer:
    """Runs the task where the env runner lives.

    Whatever it raises comes back as a value: RLlib ends the process of an env runner whose call raises, and a wrong
    setting would become an endless row of restarts.
    """
    answer = functools.partial(_Answer, number=number, env_runner=env_runner.worker_index or 0)
    try:
        return answer(value=task(env_runner))
    except Exception as error:
        env_runner.engine_failed = isinstance(error, EngineError)
        error.add_note(f"Raised in env runner {env_runner.worker_index or 0}:\n{traceback.format_exc()}")
        return answer(error=error)
