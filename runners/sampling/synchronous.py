"""Where a step's groups come from while sampling and update take turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runners.sampling.problems import ProblemSampler
from runners.sampling.refills import StepGroups, StepSample
from runners.sampling.rollout import GroupReset, SampleResult


class SynchronousGroups:
    """The groups of each step, sampled when the step asks for them.

    Args:
        sample: Samples groups.
        problems: What comes next.
        num_prompts: N, groups of a step.
        max_refills: As of `StepGroups`.
        too_long: Returns the error where no prompt is short enough.
    """

    def __init__(
        self,
        sample: Callable[[list[GroupReset]], SampleResult],
        problems: ProblemSampler,
        *,
        num_prompts: int,
        max_refills: int,
        too_long: Callable[[], Exception],
    ) -> None:
        self._sample, self._problems, self._too_long = sample, problems, too_long
        self._num_prompts, self._max_refills = num_prompts, max_refills

    def next(self) -> StepSample:
        """Returns the groups of the next step."""
        groups = StepGroups(self._num_prompts, self._max_refills)
        while groups.wanted:
            groups.add(self._sample(self._problems.draw(groups.wanted)))
            if self._problems.none_fits(groups.num_dropped_prompts, self._num_prompts):
                raise self._too_long()
        return groups.sample()

    def get_state(self) -> None:
        """Returns nothing: no group outlives its step."""

    def set_state(self, state: Any) -> None:
        """Takes nothing."""
