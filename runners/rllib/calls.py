"""Calls to the env runners that wait, surface errors, and repeat what a dead env runner left undone."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ray.exceptions import RayActorError, RayTaskError
from ray.rllib.env.env_runner_group import EnvRunnerGroup

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

    An env runner that dies or does not answer within `timeout_s` is restored, and its task repeated by whichever env
    runner is free: a task must therefore bring its own seed.

    Args:
        group: The env runners; the local one does the work where there is no other.
        tasks: Functions of an env runner.
        timeout_s: Bound on one round of calls, in seconds.
        restore: Brings dead env runners back, with the current weights.

    Raises:
        RuntimeError: If a task is still undone after several attempts.
        Exception: What a task raised, as it raised it.
    """
    if not group.num_remote_env_runners():
        return [task(group.local_env_runner) for task in tasks]
    results: dict[int, T] = {}
    for attempt in range(_MAX_ATTEMPTS):
        undone = [number for number in range(len(tasks)) if number not in results]
        while undone and (healthy := group.healthy_env_runner_ids()):
            round_, undone = undone[: len(healthy)], undone[len(healthy) :]
            results.update(_call_round(group, {n: tasks[n] for n in round_}, healthy, timeout_s))
        if len(results) == len(tasks):
            return [results[number] for number in range(len(tasks))]
        logger.warning(
            "%d of %d calls to env runners failed (attempt %d of %d): restoring the env runners and repeating them",
            len(tasks) - len(results),
            len(tasks),
            attempt + 1,
            _MAX_ATTEMPTS,
        )
        restore()
    raise RuntimeError(
        f"{len(tasks) - len(results)} of {len(tasks)} calls to env runners failed {_MAX_ATTEMPTS} times in a row; "
        f"healthy env runners: {group.healthy_env_runner_ids() or 'none'}. The lines above say why each one stopped."
    )


def broadcast(group: EnvRunnerGroup, task: Callable[[Any], Any], *, timeout_s: float) -> None:
    """Runs a task on every healthy env runner and waits for all of them.

    Raises:
        Exception: What the task raised, as it raised it.
    """
    if not group.num_remote_env_runners():
        task(group.local_env_runner)
        return
    healthy = group.healthy_env_runner_ids()
    _call_round(group, dict.fromkeys(healthy, task), healthy, timeout_s)


def _call_round(
    group: EnvRunnerGroup, tasks: dict[int, Callable[[Any], T]], env_runner_ids: list[int], timeout_s: float
) -> dict[int, T]:
    """Gives each task to one env runner; returns the results of those that answered, by task number."""
    functions = [functools.partial(_numbered, number=number, task=task) for number, task in tasks.items()]
    # The public foreach_env_runner logs a task's own errors and goes on without its result.
    answers = group._worker_manager.foreach_actor(
        functions, remote_actor_ids=env_runner_ids[: len(functions)], timeout_seconds=timeout_s
    )
    results: dict[int, T] = {}
    for answer in answers:
        if answer.ok:
            number, value = answer.get()
            results[number] = value
            continue
        error = answer.get()
        if isinstance(error, RayTaskError):
            raise error.as_instanceof_cause()
        if not isinstance(error, RayActorError):
            raise error
        logger.warning("Env runner %d died: %s", answer.actor_id, str(error).strip().splitlines()[0])
    return results


def _numbered(env_runner: Any, *, number: int, task: Callable[[Any], T]) -> tuple[int, T]:
    return number, task(env_runner)
