"""Hands the learner's weights to every engine, by the path that suits where both are."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from agents.weight_group import LEARNER_RANK, WeightGroup
from agents.weight_loader import WeightPart
from agents.weight_sources import Broadcast, Handles, WeightSource
from agents.weights import TensorSpec
from runners.rllib.calls import call_each, env_runner_ids
from runners.rllib.config import GRPOSettings
from runners.rllib.weight_paths import EnginePlace, WeightPath, choose_path
from runners.rllib.weight_sender import LearnerPlace

logger = logging.getLogger(__name__)

T = TypeVar("T")
_MAX_ATTEMPTS = 3


class WeightSync:
    """Sends weights, and waits until every engine has them: the next step must not sample from old ones.

    - "object_store": as arrays through Ray's object store, and to the engine as a file in shared memory;
    - "ipc": as handles of the learner's memory, which the engine's process opens;
    - "collective": broadcast by the first learner in a process group that it and every engine's workers join. The
      group is made anew, under a new name, whenever an engine or an env runner was.

    Args:
        config: `weight_transfer`, `sleep_during_update`, `sync_timeout_s` and the engine.
        learner_group: Whose first learner sends; all hold the same weights.
        env_runner_group: Whose agents receive.

    Raises:
        ValueError: If the path that `weight_transfer` asks for cannot be taken.
    """

    def __init__(self, config: GRPOSettings, learner_group: LearnerGroup, env_runner_group: EnvRunnerGroup) -> None:
        self._config = config
        self._learner_group = learner_group
        self._env_runner_group = env_runner_group
        self._groups: dict[int, WeightGroup] = {}
        self._learner: LearnerPlace = self.ask_first_learner(lambda learner: learner.weight_sender.place())
        self.path: WeightPath = choose_path(
            config.weight_transfer, self._learner, list(self._places(specs=None).values()), config.engine
        )
        if self.path != "object_store":
            self._places(self._learner.specs)  # refuses weights that do not fit the engines' model
        logger.info("weights travel to the engines by %s", self.path)

    def __reduce__(self) -> Any:
        """Refuses to be pickled: a copy of the learner group that is thrown away elsewhere shuts the learners down."""
        raise TypeError("A function sent to a learner or an env runner holds the driver's WeightSync.")

    def send(self) -> int:
        """Gives every living env runner's agent the current weights; returns their version.

        An engine that fails on the way is started anew and everything is sent again.

        Raises:
            RuntimeError: If engines go on failing.
            ValueError: If the weights do not fit the engines' model.
        """
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            version = self.ask_first_learner(lambda learner: learner.weights_seq_no)
            # Weights before the KV cache: so the peak of memory is lower.
            if self._wake_up("weights") and self._transfer(version) and self._wake_up("kv_cache"):
                return version
            logger.warning("weight sync by %s failed (attempt %d of %d)", self.path, attempt, _MAX_ATTEMPTS)
            self.forget_group()
            self._call_all(_restart_failed_engine)
        raise RuntimeError(
            f"The weights did not reach every engine in {_MAX_ATTEMPTS} attempts by {self.path!r}; the warnings above "
            "say why. agents(weight_transfer='object_store') is the path with the fewest demands."
        )

    def sleep(self) -> None:
        """Has every engine free its memory, where `sleep_during_update` says so; `send` wakes them up."""
        if self._config.sleep_during_update:
            self._call_all(_sleep)

    def close(self) -> None:
        """Has the learner give back what the transfers took; before it is shut down."""
        with suppress(RuntimeError, RayError):  # a learner that died has nothing to give back
            self.ask_first_learner(lambda learner: learner.weight_sender.close())

    def forget_group(self) -> None:
        """Has the next `send` make a new group: an engine or an env runner was restarted."""
        self._groups = {}

    def ask_first_learner(self, question: Callable[[Any], T]) -> T:
        """Returns the first learner's answer, or raises what it raised.

        Sharded learners are all asked, since only together they know. `question` travels to the learners and must not
        hold this object; see `__reduce__`.
        """
        ids = None if self._learner_group.is_local or self._config.fully_shard else [0]
        results = self._learner_group.foreach_learner(partial(_answer, question=question), remote_actor_ids=ids)
        in_order = sorted(results, key=lambda result: result.actor_id or 0)
        answers = [result.get() for result in in_order] or [RuntimeError("The first learner has died.")]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers[0]

    def _transfer(self, version: int) -> bool:
        """Returns whether every env runner took the weights."""
        match self.path:
            case "object_store":
                return self._send_arrays()
            case "ipc":
                return self._send_handles(version)
            case "collective":
                return self._broadcast_weights(version)

    def _send_arrays(self) -> bool:
        state = self._learner_group.get_state(
            components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}", inference_only=True
        )[COMPONENT_LEARNER]
        state = {key: state[key] for key in (COMPONENT_RL_MODULE, WEIGHTS_SEQ_NO)}
        remote = self._env_runner_group.num_remote_env_runners()
        return self._call_all(partial(_set_state, state=ray.put(state) if remote else state))

    def _send_handles(self, version: int) -> bool:
        places = self._places(self._learner.specs)
        if not self._all_of(places):
            return False
        count = sum(place.num_workers for place in places.values())
        payloads = iter(self.ask_first_learner(lambda learner: learner.weight_sender.handles(count)))
        handles = {
            number: Handles(specs=self._learner.specs, payloads=tuple(next(payloads) for _ in range(place.num_workers)))
            for number, place in places.items()
        }
        return self._call_all_of(lambda number: partial(_load_weights, source=handles[number], version=version))

    def _broadcast_weights(self, version: int) -> bool:
        if list(self._groups) != env_runner_ids(self._env_runner_group) and not self._make_group():
            return False
        sources = {number: Broadcast(specs=self._learner.specs, group=group) for number, group in self._groups.items()}
        learners = replace(next(iter(self._groups.values())), first_rank=LEARNER_RANK)
        return self._together(
            lambda number: partial(_load_weights, source=sources[number], version=version),
            lambda learner: learner.weight_sender.send(learners),
        )

    def _make_group(self) -> bool:
        places = self._places(self._learner.specs)
        if not self._all_of(places):
            return False
        sizes = [place.num_workers for place in places.values()]
        first_ranks = dict(zip(places, accumulate(sizes, initial=1), strict=False))
        one_machine = all(place.node == self._learner.node and not place.remote for place in places.values())
        group = WeightGroup(
            address="127.0.0.1" if one_machine else self._learner.address,
            port=self.ask_first_learner(lambda learner: learner.weight_sender.free_port()),
            # A server outlives the run, so its groups of other runs must not meet this one.
            name=f"weights-{secrets.token_hex(8)}",
            backend="nccl" if self._learner.gpu else "gloo",
            world_size=1 + sum(sizes),
            first_rank=LEARNER_RANK,
            timeout_s=self._config.sync_timeout_s,
        )
        self._groups = {number: replace(group, first_rank=rank) for number, rank in first_ranks.items()}
        return True

    def _together(self, task_of: Callable[[int], Callable[[Any], Any]], of_the_learner: Callable[[Any], None]) -> bool:
        """Runs both sides of a collective operation at once; returns whether all succeeded."""
        with ThreadPoolExecutor(1, thread_name_prefix="weight-sync") as pool:
            engines = pool.submit(self._call_all_of, task_of)
            try:
                self.ask_first_learner(of_the_learner)
            # What torch raises when a member is gone or late.
            except RuntimeError as error:
                logger.warning("The learner could not reach every engine: %s", error)
                engines.result()
                return False
            return engines.result()

    def _wake_up(self, part: WeightPart) -> bool:
        if not self._config.sleep_during_update:
            return True
        self._learner_group.foreach_learner(_free_cached_memory)
        return self._call_all(partial(_wake_up, part=part))

    def _places(self, specs: tuple[TensorSpec, ...] | None) -> dict[int, EnginePlace]:
        """Returns where the engine of each living env runner is, where it lives too."""
        place = partial(_place, specs=specs)
        return call_each(self._env_runner_group, lambda number: place, timeout_s=self._config.sync_timeout_s)

    def _call_all(self, task: Callable[[Any], Any]) -> bool:
        return self._call_all_of(lambda number: task)

    def _call_all_of(self, task_of: Callable[[int], Callable[[Any], Any]]) -> bool:
        """Returns whether every env runner did its task."""
        return self._all_of(call_each(self._env_runner_group, task_of, timeout_s=self._config.sync_timeout_s))

    def _all_of(self, answers: Mapping[int, Any]) -> bool:
        """Returns whether every env runner that lives has answered."""
        return answers.keys() >= set(env_runner_ids(self._env_runner_group))


def _answer(learner: Any, *, question: Callable[[Any], T]) -> T | Exception:
    """What `question` raises comes back as a value: RLlib may end the process of a learner whose call raises."""
    try:
        return question(learner)
    except Exception as error:
        return error


def _free_cached_memory(learner: Any) -> None:
    learner.weight_sender.free_cached_memory()


def _place(env_runner: Any, *, specs: tuple[TensorSpec, ...] | None) -> EnginePlace:
    return env_runner.weight_place(specs)


def _set_state(env_runner: Any, *, state: Any) -> None:
    env_runner.set_state(ray.get(state) if isinstance(state, ray.ObjectRef) else state)


def _load_weights(env_runner: Any, *, source: WeightSource, version: int) -> None:
    env_runner.load_weights(source, version)


def _sleep(env_runner: Any) -> None:
    env_runner.sleep()


def _wake_up(env_runner: Any, *, part: WeightPart) -> None:
    env_runner.wake_up(part)


def _restart_failed_engine(env_runner: Any) -> None:
    env_runner.restart_failed_engine()
