"""An environment that does not keep Gymnasium's contract is named, and its method."""

import math
from dataclasses import replace

import gymnasium as gym
import pytest

import tests.runners.broken_envs  # noqa: F401  (registers Broken-v0)
from agents import Completion
from runners.sampling.episode import Episode
from runners.sampling.summaries import rollout_summary
from runners.support.errors import UserError

ANSWER = Completion(token_ids=(1,), logprobs=(-0.5,), text="12", finish_reason="stop", policy_version=0)


class Messages:
    """Encodes any message as two tokens."""

    def encode_next(self, token_ids, observation):
        return [9, 9]


def begun(env_id, **options):
    env = gym.make(env_id, disable_env_checker=True, **options)
    observation, info = env.reset(seed=0)
    return Episode(env, group_id=0, member=0, observation=observation, info=info, prompt=[1, 2])


def play(episode, completion):
    if episode.take(completion):
        episode.answer(episode.step())


def played(env_id, **options):
    episode = begun(env_id, **options)
    play(episode, ANSWER)
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


@pytest.mark.parametrize("num_turns", [1, 2])
@pytest.mark.parametrize("num_tokens", [0, 1])
def test_a_completion_that_the_engine_aborted_has_no_reward(num_turns, num_tokens):
    episode = begun("gsm8k_env:GSM8KMultiTurn-v0", dataset="builtin:1")
    if num_turns == 2:
        play(episode, replace(ANSWER, text="\\boxed{-1}"))
    play(episode, replace(ANSWER, token_ids=(1,) * num_tokens, logprobs=(-0.5,) * num_tokens, finish_reason="abort"))
    assert not episode.begin_turn(agent=None, max_tokens=100), "nothing is said to half an answer"
    rollout = episode.rollout()
    assert math.isnan(rollout.reward) and rollout.correct is None
    assert (rollout.finish_reason, rollout.num_turns) == ("abort", num_turns)
    summary = rollout_summary([rollout, played("Addition-v0")])
    assert summary["missing_rewards"] == 1 and "accuracy" not in summary
    assert rollout.text.count("[user]") == num_turns - 1


def test_every_token_knows_the_weights_that_drew_it():
    """New ones came within the first answer, and between the turns."""
    episode = begun("gsm8k_env:GSM8KMultiTurn-v0", dataset="builtin:1")
    first = replace(ANSWER, token_ids=(1, 2, 3), logprobs=(-0.5,) * 3, policy_version=4, policy_versions=(4, 5, 5))
    play(episode, replace(first, text="\\boxed{-1}"))
    assert episode.begin_turn(Messages(), max_tokens=100)
    play(episode, replace(ANSWER, token_ids=(7, 8), logprobs=(-0.5,) * 2, policy_version=6))
    rollout = episode.rollout()
    own = rollout.policy_versions[rollout.completion_mask]
    assert own.tolist() == [4, 5, 5, 6, 6] and rollout.policy_version == 4
    assert len(rollout.policy_versions) == len(rollout.completion_token_ids) == 3 + 2 + 2
    assert played("Addition-v0").policy_versions is None, "all of one policy"
