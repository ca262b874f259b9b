"""Groups that are sampled ahead of the update that takes them: which may begin, and which are next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from runners.asynchrony.background import SampledGroup
from runners.sampling.rollout import GroupReset


@dataclass(slots=True, kw_only=True)
class _Pending:
    """A group from its beginning to the update that takes it; `worker` is who samples it, None is nobody."""

    reset: GroupReset
    worker: int | None = None
    sampled: SampledGroup | None = None


class PendingGroups:
    """The bounded list of groups under way and waiting, in the order in which they were drawn.

    A step takes the N oldest. At most (k + 1) N are in the list before a step takes its own: a group that begins when
    the policy has had v updates is therefore taken by the update v + k at the latest, so that its staleness is at most
    k by construction, whatever takes how long. A group whose prompt is too long leaves the list, and another is drawn.

    Args:
        draw: Returns the next problems.
        num_prompts: N.
        max_staleness: k.
    """

    def __init__(self, draw: Callable[[int], list[GroupReset]], num_prompts: int, max_staleness: int) -> None:
        self._draw, self._num_prompts = draw, num_prompts
        self._most = (max_staleness + 1) * num_prompts
        self._groups: dict[int, _Pending] = {}

    def to_begin(self) -> list[GroupReset]:
        """Draws what may begin; returns it with all that nobody samples, the oldest first."""
        for reset in self._draw(max(0, self._most - len(self._groups))):
            self._groups[reset.group_id] = _Pending(reset=reset)
        return [group.reset for group in self._groups.values() if group.worker is None and group.sampled is None]

    def give(self, worker: int, resets: Iterable[GroupReset]) -> None:
        """Takes note of who samples some groups."""
        for reset in resets:
            self._groups[reset.group_id].worker = worker

    def of(self, worker: int) -> list[int]:
        """Returns the ids of the groups that a worker samples."""
        return [number for number, group in self._groups.items() if group.worker == worker]

    def workers(self) -> set[int]:
        """Returns who samples any."""
        return {group.worker for group in self._groups.values() if group.worker is not None}

    def lose(self, numbers: Iterable[int]) -> None:
        """Takes note that nobody samples some groups any more."""
        for number in numbers:
            self._groups[number].worker = None

    def end(self, groups: Iterable[SampledGroup]) -> None:
        """Takes groups that were sampled; one that nobody waits for is left out."""
        for sampled in groups:
            if group := self._groups.get(sampled.group_id):
                group.worker, group.sampled = None, sampled

    def drop(self, numbers: Iterable[int]) -> None:
        """Takes groups off the list."""
        for number in numbers:
            self._groups.pop(number, None)

    @property
    def ready(self) -> bool:
        """Whether the N oldest groups are sampled."""
        oldest = list(islice(self._groups.values(), self._num_prompts))
        return len(oldest) == self._num_prompts and all(group.sampled is not None for group in oldest)

    def take(self) -> list[SampledGroup]:
        """Takes the N oldest groups off the list, once they are ready."""
        assert self.ready
        oldest = list(islice(self._groups, self._num_prompts))
        return [sampled for number in oldest if (sampled := self._groups.pop(number).sampled) is not None]

    def get_state(self) -> list[dict[str, Any]]:
        """Returns the list; what is under way stands in it as not begun."""
        return [{"reset": group.reset, "sampled": group.sampled} for group in self._groups.values()]

    def set_state(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Goes on from `get_state`."""
        self._groups = {entry["reset"].group_id: _Pending(**entry) for entry in state}
