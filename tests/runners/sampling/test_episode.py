"""An environment that does not keep Gymnasium's contract is named, and its method."""

import math

import gymnasium as gym
import pytest

import tests.runners.broken_envs  # noqa: F401  (registers Broken-v0)
from agents import Completion
from runners.sampling.episode import Episode
from runners.support.errors import UserError

ANSWER = Completion(token_ids=(1,), logprobs=(-0.5,), text="12", finish_reason="stop", policy_version=0)


def played(env_id, **options):
    env = gym.make(env_id, disable_env_checker=True, **options)
    observation, _ = env.reset(seed=0)
    episode = Episode(env, group_id=0, member=0, observation=observation, info={}, prompt=[1, 2])
    episode.step(ANSWER)
    return episode.rollout()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("inf", r"step\(\) returned the reward inf, not a finite number"),
        ("text", r"step\(\) returned the reward '1.0', not a finite number"),
        ("four", r"step\(\) returned 4 values, not \(observation, reward"),
        ("none", r"step\(\) returned NoneType, not \(observation, reward"),
        ("bytes", r"step\(\) returned the observation b'', not a text"),
    ],
)
def test_what_step_returns(kind, message):
    with pytest.raises(UserError, match=f"The environment Broken-v0: {message}"):
        played("Broken-v0", kind=kind)


def test_a_missing_reward_is_allowed():
    assert math.isnan(played("Addition-v0", reward="missing").reward)
