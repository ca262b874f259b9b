"""The numbers of a step against sums worked by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from runners.objectives.advantages import GroupAdvantages
from runners.sampling.refills import StepSample
from runners.sampling.rollout import Rollout
from runners.sampling.summaries import (
    episode_summary,
    evaluation_summary,
    group_summary,
    rollout_summary,
    step_summary,
)

NAN = math.nan


def rollout(reward, turns=(3,), prompt=2, correct=None, finish_reason="stop"):
    own = sum(turns)
    return Rollout(
        group_id=0,
        observation="",
        text="",
        prompt_token_ids=(1,) * prompt,
        completion_token_ids=(2,) * (own + 1),  # one of the user's
        completion_mask=np.array([True] * own + [False]),
        turn_lengths=turns,
        rollout_logprobs=np.zeros(own + 1, np.float32),
        reward=reward,
        correct=correct,
        finish_reason=finish_reason,
        policy_version=0,
    )


THREE = [
    rollout(1.0, (3,), prompt=2, correct=True),
    rollout(NAN, (1, 4, 2), prompt=4, finish_reason="abort"),
    rollout(0.5, (8,), prompt=6, correct=False, finish_reason="length"),
]


def test_rollouts_by_hand():
    assert rollout_summary(THREE) == pytest.approx(
        {
            "reward_mean": 0.75,
            "reward_std": 0.25,
            "missing_rewards": 1,
            "completion_tokens_mean": 6,
            "completion_tokens_max": 8,
            "prompt_tokens_mean": 4,
            "truncated_share": 1 / 3,
            "num_completion_tokens": 18,
            "turns_mean": 5 / 3,
            "accuracy": 0.5,
        }
    )


def test_episodes_by_hand():
    assert episode_summary(THREE) == {
        "episode_return_mean": 0.75,
        "episode_return_min": 0.5,
        "episode_return_max": 1.0,
        "episode_len_mean": 5 / 3,
        "episode_len_min": 1,
        "episode_len_max": 3,
        "num_episodes": 3,
        "num_env_steps_sampled": 5,
    }


def test_without_a_known_reward_means_are_missing():
    nothing = [rollout(NAN)]
    summary = rollout_summary(nothing)
    assert math.isnan(summary["reward_mean"]) and math.isnan(summary["reward_std"])
    assert summary["missing_rewards"] == 1 and "accuracy" not in summary
    assert math.isnan(episode_summary(nothing)["episode_return_max"])
    assert math.isnan(evaluation_summary(nothing)["standard_error"])


def test_the_share_of_groups_that_teach_nothing():
    none = np.zeros(0)
    for zero, groups, share in ((1, 4, 0.25), (0, 0, 0.0)):
        advantages = GroupAdvantages(advantages=none, valid=none, num_groups=groups, num_zero_variance_groups=zero)
        assert group_summary(advantages) == {"zero_variance_share": share}


def test_the_standard_error_of_an_evaluation():
    # 3 of 4 right: sqrt(3/4 * 1/4 / 4). The rewards, which say otherwise, do not count.
    judged = [rollout(5.0, correct=right) for right in (True, True, False, True)]
    summary = evaluation_summary(judged)
    assert summary["standard_error"] == pytest.approx(math.sqrt(3) / 8)
    assert (summary["num_problems"], summary["accuracy"], summary["reward_mean"]) == (4, 0.75, 5)
    # Rewards 0, 2 and a missing one: deviation 1 over sqrt(2).
    rewarded = [rollout(0.0), rollout(2.0), replace(rollout(0.0), reward=NAN)]
    summary = evaluation_summary(rewarded)
    assert summary["standard_error"] == pytest.approx(1 / math.sqrt(2)) and summary["num_problems"] == 3


def test_a_step_without_anything_left_out():
    sample = StepSample(rollouts=THREE, discarded=[], num_dropped_prompts=2)
    assert step_summary(sample) == pytest.approx(
        rollout_summary(THREE)
        | {
            "num_sampled_completion_tokens": 18,
            "num_refills": 0,
            "num_refill_rollouts": 0,
            "num_dropped_prompts": 2,
        }
    )


def test_numbers_of_the_environment():
    infos = (
        {"tools": 2, "index": 7, "ok": True, "correct": True, "note": "x"},
        {"tools": 5, "ok": False, "gone": None},
        {},
    )
    rollouts = [replace(one, info=info) for one, info in zip(THREE, infos, strict=True)]
    found = {name: value for name, value in rollout_summary(rollouts).items() if name.startswith("info_")}
    assert found == {"info_tools": 3.5, "info_ok": 0.5}
