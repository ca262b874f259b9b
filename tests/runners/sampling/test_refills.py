import math

import numpy as np
import pytest

from runners.sampling.problems import ProblemSampler
from runners.sampling.refills import StepGroups, has_spread
from runners.sampling.rollout import Rollout, SampleResult
from runners.sampling.summaries import step_summary

NAN = math.nan


def group(group_id, rewards):
    return [
        Rollout(
            group_id=group_id,
            observation="",
            text="",
            prompt_token_ids=(1,),
            completion_token_ids=(2,) * (group_id + 1),
            completion_mask=np.ones(group_id + 1, np.bool_),
            turn_lengths=(group_id + 1,),
            rollout_logprobs=np.zeros(group_id + 1, np.float32),
            reward=reward,
            correct=None,
            finish_reason="stop",
            policy_version=0,
        )
        for reward in rewards
    ]


class Problems:
    """Problems in a row: "s" has spread, "f" is flat, "l" is too long a prompt; counts what it is asked for."""

    def __init__(self, kinds):
        self.kinds, self.sampler, self.asked = kinds, ProblemSampler(None, seed=0), []

    def __call__(self, count):
        self.asked.append(count)
        numbers = [reset.group_id for reset in self.sampler.draw(count)]
        kept = [number for number in numbers if self.kinds[number % len(self.kinds)] != "l"]
        rewards = {"s": [0, 1], "f": [1, 1]}
        groups = [group(number, rewards[self.kinds[number % len(self.kinds)]]) for number in kept]
        return SampleResult(
            rollouts=[rollout for rollouts in groups for rollout in rollouts], num_dropped_prompts=count - len(kept)
        )


def step(problems, num_prompts=4, max_refills=4):
    groups = StepGroups(num_prompts, max_refills)
    for _ in range(20):
        if groups.wanted:
            groups.add(problems(groups.wanted))
    return groups.sample()


def ids(rollouts):
    return [rollout.group_id for rollout in rollouts[::2]]


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [([0, 1], True), ([1, 1], False), ([0.5, 0.5, NAN], False), ([NAN, 1], False), ([NAN, 0, 1], True), ([], False)],
)
def test_spread_is_of_known_rewards(rewards, expected):
    assert has_spread(group(0, rewards)) is expected


def test_flat_groups_are_replaced_until_all_have_spread():
    problems = Problems("sffsffss")
    sample = step(problems)
    # Two of four have spread, so four are drawn for the two that lack: ffss.
    assert problems.asked == [4, 4] and sample.num_refills == 1
    assert ids(sample.rollouts) == [0, 3, 6, 7] and ids(sample.discarded) == [1, 2, 4, 5]


def test_of_a_surplus_the_first_drawn_are_kept():
    problems = Problems("ffsfssss")
    sample = step(problems)
    assert problems.asked == [4, 4]  # one of four had spread: twelve would be called for, but a round has at most N
    assert ids(sample.rollouts) == [2, 4, 5, 6] and ids(sample.discarded) == [7, 0, 1, 3]


def test_a_round_draws_what_the_share_of_spread_calls_for():
    problems = Problems("sssffs")
    assert ids(step(problems).rollouts) == [0, 1, 2, 5]
    assert problems.asked == [4, 2]  # one is missing; at three of four that takes 4/3, so two


def test_a_round_in_which_no_group_has_spread():
    problems = Problems("ffffssff")
    sample = step(problems, num_prompts=2)
    assert problems.asked == [2, 2, 2] and sample.num_refills == 2
    assert ids(sample.rollouts) == [4, 5]


def test_groups_of_one():
    groups = StepGroups(3, 0)
    groups.add(SampleResult(rollouts=[*group(2, [1]), *group(0, [0]), *group(1, [1])]))
    assert [rollout.group_id for rollout in groups.sample().rollouts] == [0, 1, 2]


def test_c15_after_the_last_refill_flat_groups_fill_the_batch(caplog):
    problems = Problems("sffffffff" + "f" * 100)
    sample = step(problems, max_refills=2)
    assert problems.asked == [4, 4, 4] and sample.num_refills == 2
    assert ids(sample.rollouts) == [0, 1, 2, 3] and len(sample.discarded) == 16
    assert "After 2 refills 3 of 4 groups have no spread" in caplog.text


def test_without_refills_all_groups_stay_in_the_order_drawn(caplog):
    problems = Problems("fsfs")
    sample = step(problems, max_refills=0)
    assert problems.asked == [4] and ids(sample.rollouts) == [0, 1, 2, 3] and not sample.discarded
    assert not caplog.text


def test_long_prompts_are_replaced_in_refills_too_and_counted():
    problems = Problems("lssfflls")
    sample = step(problems)
    assert problems.asked == [4, 1, 4, 3] and sample.num_dropped_prompts == 4 and sample.num_refills == 1
    assert ids(sample.rollouts) == [1, 2, 7, 9]
    groups, problems = StepGroups(4, 4), Problems("l")
    for drawn in (4, 8, 12):
        groups.add(problems(groups.wanted))
        assert groups.wanted == 4 and groups.num_dropped_prompts == drawn


def test_the_summary_counts_everything_sampled():
    summary = step_summary(step(Problems("sfss" + "sf")))
    # Lengths are number + 1, two rollouts each: 1 + 3 + 4 + 5 trained on; 2 and 6 thrown away.
    assert summary["num_completion_tokens"] == 2 * (1 + 3 + 4 + 5)
    assert summary["num_sampled_completion_tokens"] == 2 * (1 + 2 + 3 + 4 + 5 + 6)
    assert (summary["num_refills"], summary["num_refill_rollouts"]) == (1, 4)
    assert summary["reward_mean"] == pytest.approx((4 * 0.5 + 2 * 1) / 6)
