"""A Sampler in a thread: what goes on, what waits, what is lost."""

import math
import time

import pytest

from agents import EngineError, SamplingParams
from agents.scripted_agent import ScriptedAgent
from runners.asynchrony.background import BackgroundSampler, check_streams
from runners.sampling.environments import Environments
from runners.sampling.rollout import GroupReset, SampleRequest
from runners.sampling.sampler import Sampler
from tests.runners.sampling.test_arrivals import Slow, Timed, by_prompt, plain, request, sampled


@pytest.fixture
def background():
    made = []

    def make(agent, env=None, in_flight="finish", timeout_s=60.0, **options):
        environments = Environments("Slow", {"train": {}, "eval": {}}, lambda *_: Slow(**({"turns": 1} | (env or {}))))
        made.append(BackgroundSampler(Sampler(environments, agent, **options), in_flight, round_timeout_s=timeout_s))
        return made[-1]

    yield make
    for one in made:
        one.close()


def collected(background, wanted, timeout_s=10.0):
    """The groups that end, in the order of their ends."""
    until, groups = time.monotonic() + timeout_s, []
    while len(groups) < len(wanted) and time.monotonic() < until:
        left = [number for number in wanted if number not in {group.group_id for group in groups}]
        groups += background.collect(left, 0.2).groups
    return groups


def test_it_samples_what_a_sampler_does(background):
    sampler = background(Timed(lambda seed: (seed % 7) / 200, script=by_prompt), {"turns": 4})
    sampler.begin(request())
    groups = sorted(collected(sampler, range(4)), key=lambda group: group.group_id)
    expected = sampled(ScriptedAgent(script=by_prompt))
    assert plain(rollout for group in groups for rollout in group.rollouts) == plain(expected)
    assert all(group.begun_at <= group.ended_at for group in groups)


def test_it_goes_on_by_itself_and_evaluation_goes_on_beside(background):
    sampler = background(Timed(lambda seed: 0.3))
    sampler.begin(request(groups=2))
    evaluated = sampler.sample(request(groups=3, size=1, env="eval"))
    assert len(evaluated.rollouts) == 3
    began = time.monotonic()
    assert len(sampler.collect([0, 1], 5.0).groups) == 2
    assert time.monotonic() - began < 0.25, "they ended while the evaluation was sampled"


def test_weights_wait_for_open_completions_and_nothing_new_begins(background):
    agent = Timed(lambda seed: 0.2)
    sampler = background(agent, {"turns": 3})
    sampler.begin(request(groups=1))
    while not agent.open:
        time.sleep(0.001)
    with sampler.loading_weights():
        assert not agent.open
        agent.policy_version = 7
        time.sleep(0.3)
        assert not agent.open, "the second turn waits for the weights"
    (group,) = collected(sampler, [0])
    for rollout in group.rollouts:
        versions = rollout.own_policy_versions().tolist()
        first = rollout.turn_lengths[0]
        assert versions == [0] * first + [7] * (len(versions) - first)
        assert rollout.policy_version == 0


def test_a_prompt_that_is_too_long_is_said(background):
    sampler = background(Timed(lambda seed: 0.0))
    sampler.begin(request(groups=2, max_prompt_tokens=1))
    assert sampler.collect([0, 1], 1.0).too_long == [0, 1]


def test_groups_that_nobody_knows_are_said(background):
    sampler = background(Timed(lambda seed: 0.0))
    assert sampler.collect([5, 3], 1.0).unknown == [3, 5]


def test_an_error_of_the_engine_is_raised_once_and_its_groups_are_lost(background, monkeypatch):
    agent = Timed(lambda seed: 0.05)
    sampler = background(agent)

    def fails(timeout_s=0.0):
        raise EngineError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(agent, "poll", fails)
        sampler.begin(request(groups=2))
        with pytest.raises(EngineError, match="gone"):
            sampler.collect([0, 1], 5.0)
    agent.open.clear()
    assert sampler.collect([0, 1], 0.1).unknown == [0, 1]
    sampler.begin(request(groups=2))
    assert len(collected(sampler, [0, 1])) == 2


def test_a_fault_of_the_environment_is_raised_where_groups_are_collected(background):
    sampler = background(Timed(lambda seed: 0.0, script=lambda prompt, sample: "fail"))
    sampler.begin(request(groups=1))
    with pytest.raises(ZeroDivisionError, match="of the environment"):
        sampler.collect([0], 5.0)


def test_idle_seconds_are_those_without_anything_to_sample(background):
    sampler = background(Timed(lambda seed: 0.3))
    time.sleep(0.3)
    sampler.begin(request(groups=1))
    (group,) = sampler.collect([0], 5.0).groups
    time.sleep(0.2)
    assert not math.isnan(group.ended_at)
    assert 0.1 <= sampler.collect([], 0.0).idle_s <= 0.4


def test_agents_that_cannot_be_used():
    with pytest.raises(ValueError, match="max_staleness needs an engine that streams"):
        check_streams(ScriptedAgent(), "scripted", "finish")
    with pytest.raises(ValueError, match='in_flight="continue", but it must be "finish" with engine \'timed\''):
        check_streams(Timed(lambda seed: 0.0), "timed", "continue")


def test_requests_of_several_kinds_at_once_have_each_its_own_limits(background):
    sampler = background(Timed(lambda seed: 0.02), {"turns": 2})
    short = SampleRequest(
        resets=[GroupReset(group_id=9, seed=9)],
        sampling=SamplingParams(n=2, max_tokens=30),
        seed=0,
        max_episode_tokens=5,
    )
    sampler.begin(request(groups=1))
    sampler.begin(short)
    groups = {group.group_id: group for group in collected(sampler, [0, 9])}
    assert {rollout.num_turns for rollout in groups[0].rollouts} == {2}
    assert {rollout.num_turns for rollout in groups[9].rollouts} == {1}
