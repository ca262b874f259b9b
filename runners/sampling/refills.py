"""The groups of one step: new problems for prompts that are too long, and for groups that teach nothing."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

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
    """

    rollouts: list[Rollout]
    discarded: list[Rollout]
    num_dropped_prompts: int
    num_refills: int


def sample_step(
    sample: Callable[[int], SampleResult], *, num_prompts: int, max_refills: int, max_dropped_prompts: int
) -> StepSample | None:
    """Samples `num_prompts` groups, with a spread of rewards in each if that takes no more than `max_refills` rounds.

    Dynamic sampling (DAPO, https://arxiv.org/abs/2503.14476, section 3.2). A group has spread if two of the rewards
    that the environment gave differ: before any shaping, or a group of right answers would count for the lengths of
    its members. Each round draws as many problems as the share of groups with spread so far calls for, at most
    `num_prompts`. Of the groups with spread the first drawn are kept, whatever their lengths. Where the rounds do not
    suffice, the first groups without spread fill the batch, so that its size stays.

    Args:
        sample: Draws that many new problems and samples their groups.
        num_prompts: N, the groups to return.
        max_refills: Rounds after the first; 0 keeps all groups of the first, with spread or not.
        max_dropped_prompts: Bound on the prompts that may be too long.

    Returns:
        The step's sample, or None if more than `max_dropped_prompts` prompts were too long.
    """
    spread: list[list[Rollout]] = []
    flat: list[list[Rollout]] = []
    num_dropped = num_refills = 0
    wanted = num_prompts
    while True:
        groups: list[list[Rollout]] = []
        while len(groups) < wanted:
            result = sample(wanted - len(groups))
            groups += _groups(result.rollouts)
            num_dropped += result.num_dropped_prompts
            if num_dropped >= max_dropped_prompts:
                return None
        for group in groups:
            (spread if has_spread(group) else flat).append(group)
        missing = max(0, num_prompts - len(spread))
        if not missing or num_refills == max_refills:
            break
        num_refills += 1
        wanted = min(num_prompts, math.ceil(missing * (len(spread) + len(flat)) / max(1, len(spread))))
    if missing and max_refills:
        logger.warning(
            "After %d refills %d of %d groups have no spread of rewards: the problems are too easy or too hard",
            max_refills,
            missing,
            num_prompts,
        )
    chosen = sorted(spread[:num_prompts] + flat[:missing], key=_group_id)
    left_out = spread[num_prompts:] + flat[missing:]
    return StepSample(
        rollouts=[rollout for group in chosen for rollout in group],
        discarded=[rollout for group in left_out for rollout in group],
        num_dropped_prompts=num_dropped,
        num_refills=num_refills,
    )


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
