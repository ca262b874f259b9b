"""A group of learners that hold a part of the policy each."""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.rllib.core import COMPONENT_LEARNER
from ray.rllib.core.learner.learner_group import LearnerGroup

from runners.rllib.sharding import is_follower


class ShardedLearnerGroup(LearnerGroup):
    """RLlib's group asks one learner for the state; here all are asked, since they make it whole together.

    Checkpoints are RLlib's own and hold whole tensors: they load into any number of learners, sharded or not.
    """

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Returns the learners' common state."""
        if not self._check_component(COMPONENT_LEARNER, components, not_components):
            return {}
        of_the_first = partial(
            _state_of_the_first,
            components=self._get_subcomponents(COMPONENT_LEARNER, components),
            not_components=self._get_subcomponents(COMPONENT_LEARNER, not_components),
            **kwargs,
        )
        states = self._get_results(self.foreach_learner(of_the_first))
        return {COMPONENT_LEARNER: next(state for state in states if state is not None)}

    def save_to_path(self, path: Any = None, *, state: dict[str, Any] | None = None, **kwargs: Any) -> str:
        """Saves `state`, or the current one, as RLlib does."""
        return super().save_to_path(path, state=state or self.get_state(), **kwargs)


def _state_of_the_first(learner: Any, **kwargs: Any) -> dict[str, Any] | None:
    state = learner.get_state(**kwargs)
    return None if is_follower() else state
