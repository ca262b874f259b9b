"""The WeightLink: delivers the learner's weights to every engine, by the path that suits where both are."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import accumulate
from operator import methodcaller
from typing import Any, Protocol

from agents.weight_group import LEARNER_RANK, WeightGroup
from agents.weight_loader import WeightPart
from agents.weight_sources import Broadcast, Handles, WeightSource
from runners.settings import EngineSettings
from runners.weights.paths import EnginePlace, WeightPath, choose_path
from runners.weights.sender import LearnerPlace

logger = logging.getLogger(__name__)

_MAX_ATTEMPTS = 3


class Senders(Protocol):
    """The learners' `WeightSender`s, wherever they are."""

    def ask(self, call: Callable[[Any], Any]) -> Any:
        """Returns rank 0's answer, or raises what it raised."""
        ...

    def tell(self, call: Callable[[Any], Any]) -> Any:
        """Makes the call on every learner."""
        ...


class Receivers(Protocol):
    """The engines' `WeightReceiver`s, wherever they are; one that fails gives no answer."""

    def ids(self) -> list[int]:
        """Returns the ids of those that live."""
        ...

    def call(self, calls: Mapping[int, Callable[[Any], Any]]) -> dict[int, Any]:
        """Returns the answers by id."""
        ...


class WeightLink:
    """Delivers weights, and waits until every engine has them.

    - "object_store": as arrays, and to an engine in a process of its own as a file in shared memory;
    - "ipc": as handles of the learner's memory, which the engine's process opens;
    - "adapter": the adapter alone, to engines that serve it beside the base model that they have;
    - "collective": broadcast by rank 0 in a process group that it and every engine's workers join. The group is made
      anew, under a new name, whenever an engine or an env runner was.

    Args:
        settings: The path asked for, and the bound on a delivery.
        senders: Whose rank 0 sends; all ranks hold the same weights.
        receivers: Who takes them.
        restore: Brings env runners and engines back that have failed, without weights.

    Raises:
        ValueError: If the path that `weight_transfer` asks for cannot be taken, or the weights do not fit an engine.
    """

    def __init__(
        self, settings: EngineSettings, senders: Senders, receivers: Receivers, restore: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._senders, self._receivers, self._restore = senders, receivers, restore
        self._groups: dict[int, WeightGroup] = {}
        self._learner: LearnerPlace = senders.ask(methodcaller("place"))
        self.path: WeightPath = choose_path(
            settings.weight_transfer, self._learner, list(self._places().values()), settings.engine
        )
        logger.info("weights travel to the engines by %s", self.path)

    def deliver(self, policy_version: int) -> None:
        """Gives every living engine the current weights, which have had `policy_version` updates.

        An engine that fails on the way is started anew and everything is sent again.

        Raises:
            RuntimeError: If engines go on failing, or none lives.
            ValueError: If the weights do not fit the engines' model.
        """
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            # Weights before the KV cache: so the peak of memory is lower.
            if self._wake_up("weights") and self._send(policy_version) and self._wake_up("kv_cache"):
                return
            logger.warning("weight delivery by %s failed (attempt %d of %d)", self.path, attempt, _MAX_ATTEMPTS)
            self.forget_group()
            self._restore()
        raise RuntimeError(
            f"The weights did not reach every engine in {_MAX_ATTEMPTS} attempts by {self.path!r}; the warnings above "
            "say why. agents(weight_transfer='object_store') is the path with the fewest demands."
        )

    def sleep(self) -> None:
        """Has every engine free its memory, where `sleep_during_update` says so; `deliver` wakes them up."""
        if self._settings.sleep_during_update:
            self._call_all(methodcaller("sleep"))

    def forget_group(self) -> None:
        """Has the next `deliver` make a new group: an engine or an env runner was restarted."""
        self._groups = {}

    def _send(self, version: int) -> bool:
        """Returns whether every engine took the weights."""
        match self.path:
            case "object_store":
                return self._call_all(methodcaller("load", self._senders.ask(methodcaller("arrays")), version))
            case "adapter":
                return self._call_all(methodcaller("load", self._senders.ask(methodcaller("adapter")), version))
            case "ipc":
                return self._send_handles(version)
            case "collective":
                return self._broadcast(version)

    def _send_handles(self, version: int) -> bool:
        places = self._places()
        if not self._all_of(places):
            return False
        count = sum(place.num_workers for place in places.values())
        payloads = iter(self._senders.ask(methodcaller("handles", count)))
        return self._load_each(
            {
                number: Handles(
                    specs=self._learner.specs, payloads=tuple(next(payloads) for _ in range(place.num_workers))
                )
                for number, place in places.items()
            },
            version,
        )

    def _broadcast(self, version: int) -> bool:
        """Has both sides take part in a collective operation at once; returns whether all did."""
        if list(self._groups) != self._receivers.ids() and not self._make_group():
            return False
        sources = {number: Broadcast(specs=self._learner.specs, group=group) for number, group in self._groups.items()}
        group = replace(next(iter(self._groups.values())), first_rank=LEARNER_RANK)
        with ThreadPoolExecutor(1, thread_name_prefix="weight-link") as pool:
            engines = pool.submit(self._load_each, sources, version)
            try:
                self._senders.ask(methodcaller("broadcast", group))
            # What torch raises when a member is gone or late.
            except RuntimeError as error:
                logger.warning("The learner could not reach every engine: %s", error)
                engines.result()
                return False
            return engines.result()

    def _make_group(self) -> bool:
        places = self._places()
        if not self._all_of(places):
            return False
        sizes = [place.num_workers for place in places.values()]
        one_machine = all(place.node == self._learner.node and not place.remote for place in places.values())
        group = WeightGroup(
            address="127.0.0.1" if one_machine else self._learner.address,
            port=self._senders.ask(methodcaller("free_port")),
            # A server outlives the run, so its groups of other runs must not meet this one.
            name=f"weights-{secrets.token_hex(8)}",
            backend="nccl" if self._learner.gpu else "gloo",
            world_size=1 + sum(sizes),
            first_rank=LEARNER_RANK,
            timeout_s=self._settings.sync_timeout_s,
        )
        first_ranks = dict(zip(places, accumulate(sizes, initial=1), strict=False))
        self._groups = {number: replace(group, first_rank=rank) for number, rank in first_ranks.items()}
        return True

    def _wake_up(self, part: WeightPart) -> bool:
        if not self._settings.sleep_during_update:
            return True
        self._senders.tell(methodcaller("free_cached_memory"))
        return self._call_all(methodcaller("wake_up", part))

    def _places(self) -> dict[int, EnginePlace]:
        """Returns where each living engine is."""
        return self._receivers.call(dict.fromkeys(self._receivers.ids(), methodcaller("place", self._learner.specs)))

    def _load_each(self, sources: Mapping[int, WeightSource], version: int) -> bool:
        return self._all_of(
            self._receivers.call({number: methodcaller("load", source, version) for number, source in sources.items()})
        )

    def _call_all(self, call: Callable[[Any], Any]) -> bool:
        return self._all_of(self._receivers.call(dict.fromkeys(self._receivers.ids(), call)))

    def _all_of(self, answers: Mapping[int, Any]) -> bool:
        """Returns whether every engine that lives has answered; no engine at all is a failure too."""
        ids = self._receivers.ids()
        return bool(ids) and answers.keys() >= set(ids)
