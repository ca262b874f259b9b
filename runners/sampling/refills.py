"""The groups of one step: new problems for prompts that are too long, and for groups that teach nothing."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from runners.sampling.rollout import Rollout, SampleResult

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSample:
    """What was sampled for one step.

    Attributes:
        rollouts: [B] those to train on: whole groups, in the order in which their problems were drawn.
        discarded: The rollouts of the groups left out.
        num_dropped_prompts: Problems replaced because their prompt was too long.
        num_refills: Rounds of further problems in place of groups without spread.
        measures: What else its source knows of it, by the names of `runners.run_folder.metrics`.
    """

    rollouts: list[Rollout]
    discarded: list[Rollout] = field(default_factory=list)
    num_dropped_prompts: int
    num_refills: int = 0
    measures: Mapping[str, float] = field(default_factory=dict)


class StepGroups:
    """Collects the groups of one step: `num_prompts`, with a spread of rewards in each if `max_refills` rounds suffice.

    Dynamic sampling (DAPO, https://arxiv.org/abs/2503.14476, section 3.2). A group has spread if two of the rewards
    that the environment gave differ: before any shaping, or a group of right answers would count for the lengths of
    its members. Each round draws as many problems as the share of groups with spread so far calls for, at most
    `num_prompts`. Of the groups with spread the first drawn are kept, whatever their lengths. Where the rounds do not
    suffice, the first zero-variance groups fill the batch, so that its size stays.

    Args:
        num_prompts: N, the groups of a step.
        max_refills: Rounds after the first; 0 keeps all groups of the first, with spread or not.

    Attributes:
        wanted: Problems to draw and sample next; 0 once the step has its groups.
        num_dropped_prompts: Problems so far whose prompt was too long; they are drawn anew in the same round.
    """

    def __init__(self, num_prompts: int, max_refills: int) -> None:
        self.wanted = num_prompts
        self.num_dropped_prompts = 0
        self._num_prompts, self._max_refills = num_prompts, max_refills
        self._num_refills = 0
        self._round: list[list[Rollout]] = []
        self._spread: list[list[Rollout]] = []
        self._zero_variance: list[list[Rollout]] = []

    def add(self, result: SampleResult) -> None:
        """Takes what came of the problems that were wanted."""
        groups = _groups(result.rollouts)
        self._round += groups
        self.wanted -= len(groups)
        self.num_dropped_prompts += result.num_dropped_prompts
        if not self.wanted:
            self._end_round()

    def sample(self) -> StepSample:
        """Returns the step's sample, once nothing is wanted any more."""
        assert not self.wanted
        missing = self._num_prompts - min(len(self._spread), self._num_prompts)
        if missing and self._max_refills:
            logger.warning(
                "After %d refills %d of %d groups have no spread of rewards: the problems are too easy or too hard",
                self._max_refills,
                missing,
                self._num_prompts,
            )
        chosen = sorted(self._spread[: self._num_prompts] + self._zero_variance[:missing], key=_group_id)
        left_out = self._spread[self._num_prompts :] + self._zero_variance[missing:]
        return StepSample(
            rollouts=[rollout for group in chosen for rollout in group],
            discarded=[rollout for group in left_out for rollout in group],
            num_dropped_prompts=self.num_dropped_prompts,
            num_refills=self._num_refills,
        )

    def _end_round(self) -> None:
        for group in self._round:
            (self._spread if has_spread(group) else self._zero_variance).append(group)
        self._round = []
        missing = self._num_prompts - len(self._spread)
        if missing > 0 and self._num_refills < self._max_refills:
            self._num_refills += 1
            sampled = len(self._spread) + len(self._zero_variance)
            self.wanted = min(self._num_prompts, math.ceil(missing * sampled / max(1, len(self._spread))))


def has_spread(group: list[Rollout]) -> bool:
    """Returns whether two known rewards of the group differ."""
    return len({r.reward for r in group if not math.isnan(r.reward)}) > 1


def _groups(rollouts: list[Rollout]) -> list[list[Rollout]]:
    by_id: dict[int, list[Rollout]] = {}
    for rollout in rollouts:
        by_id.setdefault(rollout.group_id, []).append(rollout)
    return list(by_id.values())


def _group_id(group: list[Rollout]) -> int:
    return group[0].group_id
