"""From rewards to advantages and statistics."""

import pytest

from tests.wiring.scripts import GRADED, MISSING


def test_rewards_that_are_missing_are_not_zero(start):
    run = start({"num_epochs": 2}, script=MISSING)
    step = run.step()
    run.follow(step, num_epochs=2)
    assert step.rollouts["missing_rewards"] == 5
    assert step.rollouts["reward_mean"] == pytest.approx(6 / 11)  # of those that are known
    # Problem 2: three known ones, all equal. Of problem 3 one is known, which is no group to compare in.
    assert step.rollouts["zero_variance_share"] == 1 / 4
    lengths = [sum(episode.own) for episode in step.episodes]
    assert step.rollouts["completion_tokens_mean"] == pytest.approx(sum(lengths) / 16)


def test_all_rewards_of_a_batch_count(start):
    rollouts = start(script=GRADED).step().rollouts
    rewards = [1, 0, 0, 1, 0, 0, 1, 0, 1, 1, 1, 0, 0.5, 1, 0, 0.25]
    assert rollouts["reward_mean"] == pytest.approx(sum(rewards) / 16)
    variance = sum((reward - sum(rewards) / 16) ** 2 for reward in rewards) / 16
    assert rollouts["reward_std"] == pytest.approx(variance**0.5)
    assert rollouts["missing_rewards"] == 0
    assert rollouts["zero_variance_share"] == 0
