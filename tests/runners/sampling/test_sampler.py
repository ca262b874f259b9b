"""What the agent is asked, turn by turn, and what comes of it."""

import math
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

from agents import Completion, SamplingParams
from runners.sampling.environments import Environments
from runners.sampling.problems import sequence_seed
from runners.sampling.rollout import GroupReset, SampleRequest, SampleResult
from runners.sampling.sampler import Sampler

SEED = 11


class Countdown(gym.Env):
    """Problem i has i turns, each worth 2 to the number of those to come; its first text has i + 3 characters."""

    def __init__(self, title="T"):
        self.title = title

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = options["index"]
        return self.title * (self.left + 3), {"index": self.left, "notes": [1], "asked": 1}

    def step(self, action):
        self.left -= 1
        return f"<{action}>", 2.0**self.left, self.left == 0, False, {"asked": 2, "correct": self.left == 0}


class Scripted:
    """Encodes a text as its characters' codes; call k's completion m of prompt i has k + m + 1 tokens, all 100 + i."""

    max_model_len = 40
    policy_version = 7

    def __init__(self):
        self.calls = []

    def encode(self, observation):
        return [ord(character) for character in observation]

    def encode_next(self, token_ids, observation):
        return [0, len(observation)]

    def generate(self, prompts, params):
        turn = len(self.calls)
        self.calls.append(([tuple(prompt) for prompt in prompts], params))
        return [
            [
                Completion(
                    token_ids=(100 + i,) * (turn + m + 1),
                    logprobs=(-0.5 - m,) * (turn + m + 1),
                    text=f"t{turn}m{m}",
                    finish_reason="stop",
                    policy_version=7,
                )
                for m in range(params.n)
            ]
            for i in range(len(prompts))
        ]


@pytest.fixture
def agent():
    return Scripted()


def sampler(agent, **options):
    titles = {"train": {"title": "T"}, "eval": {"title": "E"}}
    return Sampler(Environments("none", titles, lambda env_id, given: Countdown(**given)), agent, **options)


def request(*indices, n=2, **changes):
    resets = [GroupReset(group_id=10 + i, seed=0, options={"index": i}) for i in indices]
    sampling = SamplingParams(n=n, max_tokens=8, temperature=0.5)
    return replace(SampleRequest(resets=resets, sampling=sampling, seed=SEED), **changes)


def test_the_first_turn_is_asked_by_groups_and_later_ones_of_those_that_go_on(agent):
    result = sampler(agent).sample(request(2, 1, 3))
    (first, params), (second, later), (third, last) = agent.calls
    assert first == [tuple(map(ord, "T" * length)) for length in (5, 4, 6)]
    assert (params.n, params.max_tokens, params.temperature) == (2, 8, 0.5)
    assert params.seed == tuple(sequence_seed(SEED, "train", group, 0) for group in (12, 11, 13))
    # Problem 1 is over. Each of the others goes on from its own tokens and the user's next message.
    assert second == [
        (*first[0], 100, 0, 6),
        (*first[0], 100, 100, 0, 6),
        (*first[2], 102, 0, 6),
        (*first[2], 102, 102, 0, 6),
    ]
    assert later.n == last.n == 1
    base = [sequence_seed(SEED, "train", group, 1) for group in (12, 13)]
    assert later.seed == (base[0], base[0] + 1, base[1], base[1] + 1)
    assert [len(prompt) for prompt in third] == [6 + 1 + 2 + 2 + 2, 6 + 2 + 2 + 2 + 2]
    base = sequence_seed(SEED, "train", 13, 2)
    assert last.seed == (base, base + 1)
    assert [r.group_id for r in result.rollouts] == [12, 12, 11, 11, 13, 13]
    assert [r.reward for r in result.rollouts] == [3, 3, 1, 1, 7, 7]
    assert result.num_dropped_prompts == 0


def test_a_rollout_of_two_turns(agent):
    rollout = sampler(agent).sample(request(2)).rollouts[1]
    assert rollout.prompt_token_ids == tuple(map(ord, "TTTTT"))
    assert rollout.completion_token_ids == (100, 100, 0, 6, 101, 101)
    assert rollout.completion_mask.tolist() == [True, True, False, False, True, True]
    assert rollout.rollout_logprobs.tolist() == [-1.5, -1.5, 0, 0, -0.5, -0.5]
    assert rollout.rollout_logprobs.dtype == np.float32
    assert (rollout.turn_lengths, rollout.num_turns, rollout.num_own_tokens) == ((2, 2), 2, 4)
    assert rollout.observation == "TTTTT"
    assert rollout.text == "t0m1\n\n[user]\n<t0m1>\n\n[assistant]\nt1m0"
    assert (rollout.finish_reason, rollout.policy_version, rollout.correct) == ("stop", 7, True)
    assert rollout.info == {"index": 2, "asked": 2, "correct": True}  # the last step's over reset's; no lists


def test_an_episode_ends_where_the_next_turn_has_no_room(agent):
    # After the first turn: 5 + 1 or 2 tokens, and 2 of the user's. A turn begins below the limit.
    result = sampler(agent).sample(request(2, max_episode_tokens=9))
    assert [r.num_turns for r in result.rollouts] == [2, 1]
    assert [r.finish_reason for r in result.rollouts] == ["stop", "length"]
    assert [r.reward for r in result.rollouts] == [3, 2]
    assert result.rollouts[1].completion_token_ids == (100, 100) and result.rollouts[1].correct is False


def test_an_answer_that_the_engine_aborts_ends_its_episode_alone(agent):
    whole = agent.generate

    def generate(prompts, params):
        [[first, second]] = whole(prompts, params)
        return [[replace(first, finish_reason="abort"), second]]

    agent.generate = generate
    engine = sampler(agent)
    [group] = engine.begin(request(1))
    for _ in range(3):
        engine.advance(0.0)
    assert engine.num_open == 0
    assert [r.finish_reason for r in group.rollouts()] == ["abort", "stop"]
    assert math.isnan(group.rollouts()[0].reward) and group.rollouts()[1].reward == 1


def test_no_episode_grows_beyond_the_context(agent):
    agent.max_model_len = 9
    assert [r.num_turns for r in sampler(agent).sample(request(2)).rollouts] == [2, 1]
    assert [r.num_turns for r in sampler(agent).sample(request(2, max_episode_tokens=50)).rollouts] == [1, 1]


def test_prompts_that_are_too_long_are_left_out_and_counted(agent):
    result = sampler(agent).sample(request(1, 4, 2, max_prompt_tokens=5))
    assert [r.group_id for r in result.rollouts] == [11, 11, 12, 12] and result.num_dropped_prompts == 1
    agent.max_model_len = 5  # a token of the answer must fit
    result = sampler(agent).sample(request(1, 2))
    assert [r.group_id for r in result.rollouts] == [11, 11] and result.num_dropped_prompts == 1


def test_the_environment_of_evaluation_and_its_seeds(agent):
    [rollout] = sampler(agent).sample(request(1, n=1, env="eval")).rollouts
    assert rollout.observation == "EEEE"
    assert agent.calls[0][1].seed == (sequence_seed(SEED, "eval", 11, 0),)


def test_another_encoding_of_the_first_message(agent):
    [rollout] = sampler(agent, encode=lambda observation: [1, 2]).sample(request(1, n=1)).rollouts
    assert rollout.prompt_token_ids == (1, 2)


def test_a_probe_is_the_same_prompt_each_time(agent):
    engine = sampler(agent, encode=lambda observation: [1])
    [first], [second] = engine.probe(SamplingParams(max_tokens=8)), engine.probe(SamplingParams(max_tokens=8))
    assert first.prompt_token_ids == second.prompt_token_ids == tuple(agent.encode("What is 12 + 7?"))
    assert second.completion_token_ids == (100, 100) and second.completion_mask.tolist() == [True, True]
    assert second.rollout_logprobs.tolist() == [-0.5, -0.5] and second.rollout_logprobs.dtype == np.float32
    assert second.policy_version == 7


def test_results_are_joined_in_their_order(agent):
    parts = [sampler(agent).sample(request(*indices, max_prompt_tokens=5)) for indices in ((1, 3), (4, 2))]
    joined = SampleResult.joined(parts)
    assert [r.group_id for r in joined.rollouts] == [11, 11, 12, 12] and joined.num_dropped_prompts == 2
    assert SampleResult.joined([]) == SampleResult()


def test_turns_are_counted_from_the_first_to_the_last(agent):
    rollout = sampler(agent).sample(request(1, n=1)).rollouts[0]
    assert rollout.text == "t0m0" and not math.isnan(rollout.reward)
