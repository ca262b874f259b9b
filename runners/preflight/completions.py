"""What a few dozen completions say of a run to come: pure functions of rollouts, a sentence for each fault."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from runners.sampling.rollout import Rollout
from runners.settings import SamplingSettings

# Of completions cut by max_tokens: more than this share is a fault.
_CUT_SHARE = 0.25
LEAST_GROUPS = 2
"""Groups of which something is said: one alone may be equal by chance."""
_SHOWN = 60  # characters of a completion's end
_WARM_START = "a warm start on solutions (python runners/sft.py)"


def faults_of_completions(rollouts: Sequence[Rollout], sampling: SamplingSettings) -> Iterator[str]:
    """Yields a sentence for each thing that is wrong with B rollouts.

    Args:
        rollouts: [B] whole groups, sampled as in training.
        sampling: How they were sampled.
    """
    yield from _ending(rollouts, sampling.max_tokens)
    yield from _answers(rollouts)
    yield from _groups(rollouts)


def _ending(rollouts: Sequence[Rollout], max_tokens: int) -> Iterator[str]:
    number, cut = len(rollouts), sum(rollout.finish_reason == "length" for rollout in rollouts)
    longer = f"--set max_tokens={2 * max_tokens}"
    if number and cut == number:
        yield (
            f"no end token: each of {number} completions ran to its limit (max_tokens={max_tokens}), and none ended by "
            f"itself. Try {longer}; a model that never learned to end needs {_WARM_START}."
        )
    elif cut > _CUT_SHARE * number:
        yield (
            f"max_tokens={max_tokens} is short: it cut {cut} of {number} completions, whose answers are lost. "
            f"Raise it: {longer}."
        )


def _answers(rollouts: Sequence[Rollout]) -> Iterator[str]:
    """Looks at the answers where the environment tells which it read (`info["extracted"]`)."""
    told = [rollout for rollout in rollouts if "extracted" in rollout.info]
    if told and all(rollout.info["extracted"] is None for rollout in told):
        yield (
            f"no answer was found in any of {len(told)} completions; the first ends {told[0].text[-_SHOWN:]!r}. Ask "
            "for the form that is graded (--env-option instruction=..., --env-option grading=flexible), or begin with "
            f"{_WARM_START}."
        )


def _groups(rollouts: Sequence[Rollout]) -> Iterator[str]:
    groups: dict[int, list[float]] = defaultdict(list)
    for rollout in rollouts:
        if not math.isnan(rollout.reward):
            groups[rollout.group_id].append(rollout.reward)
    compared = [rewards for rewards in groups.values() if len(rewards) > 1]
    if len(compared) < LEAST_GROUPS or any(len(set(rewards)) > 1 for rewards in compared):
        return
    values = {reward for rewards in compared for reward in rewards}
    teaches = f"every group is equal ({len(compared)} of {len(compared)}), and a group of equal rewards teaches nothing"
    if len(values) > 1:
        yield f"{teaches}: the completions of a problem hardly differ. Raise --set temperature, or --set group_size."
        return
    verdicts = {rollout.correct for rollout in rollouts if rollout.group_id in groups}
    if verdicts == {True}:
        yield f"{teaches}: all {len(rollouts)} are right, the problems are too easy. Take harder ones (--dataset)."
    elif verdicts == {False}:
        yield (
            f"{teaches}: all {len(rollouts)} are wrong, the problems are too hard. Take easier ones (--dataset "
            f"builtin:1), more completions of each (--set group_size), or {_WARM_START}."
        )
    else:
        yield (
            f"{teaches}: all {len(rollouts)} have the reward {values.pop():g}, so the problems are too easy or too "
            "hard. Take others (--dataset, --env-option)."
        )
