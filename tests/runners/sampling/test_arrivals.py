"""Episodes go on as their own completions come, and environments step, whatever the others wait for."""

import time
from dataclasses import replace
from itertools import count

import gymnasium as gym
import numpy as np
import pytest

from agents import SamplingParams
from agents.scripted_agent import ScriptedAgent
from runners.sampling.environments import Environments
from runners.sampling.rollout import GroupReset, SampleRequest
from runners.sampling.sampler import Sampler

TURNS = 4


class Slow(gym.Env):
    """Asks `turns` times; a step takes what `seconds` says of the number of the step, or hangs."""

    observation_space = action_space = gym.spaces.Text(10_000)

    def __init__(self, turns=TURNS, seconds=0.0, hangs=False):
        self.turns, self.seconds, self.hangs = turns, seconds, hangs

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.problem, self.steps = self.np_random.integers(1000), 0
        return f"problem {self.problem}", {}

    def step(self, action):
        if action == "fail":
            raise ZeroDivisionError("of the environment")
        time.sleep(100 if self.hangs and "0" in action else self.seconds)
        self.steps += 1
        return f"turn {self.steps}", float(len(action)), self.steps == self.turns, False, {}


class Timed(ScriptedAgent):
    """Streams; a completion is there `seconds(submission number)` after it was submitted."""

    in_process = False

    def __init__(self, seconds, **options):
        super().__init__(**options)
        self.seconds, self.numbers, self.open = seconds, count(), {}

    def submit(self, prompt_token_ids, params):
        groups = []
        for prompt, seed in zip(prompt_token_ids, params.seed, strict=True):
            [completions] = super().generate([prompt], replace(params, seed=None))
            groups.append([next(self.numbers) for _ in completions])
            for j, (number, completion) in enumerate(zip(groups[-1], completions, strict=True)):
                self.open[number] = time.monotonic() + self.seconds(seed + j), completion
        return groups

    def poll(self, timeout_s=0.0):
        until = time.monotonic() + timeout_s
        while self.open:
            now = time.monotonic()
            ended = [number for number, (at, _) in self.open.items() if at <= now]
            if ended or now >= until:
                return {number: self.open.pop(number)[1] for number in ended}
            time.sleep(min(until, min(at for at, _ in self.open.values())) - now)
        return {}


def request(groups=4, size=4, **options):
    resets = [GroupReset(group_id=i, seed=i) for i in range(groups)]
    return SampleRequest(resets=resets, sampling=SamplingParams(n=size, max_tokens=30), seed=0, **options)


def sampled(agent, env=None, asked=None, **options):
    environments = Environments("Slow", {"train": {}, "eval": {}}, lambda *_: Slow(**(env or {})))
    return Sampler(environments, agent, **options).sample(asked or request()).rollouts


def lognormal(seed):
    return float(np.random.default_rng(seed).lognormal(-2.0, 0.8))


def plain(rollouts):
    return [(r.group_id, r.text, r.completion_token_ids, r.reward, r.turn_lengths) for r in rollouts]


def by_prompt(prompt, sample):
    return f"{len(prompt)} {sample}"


def test_a_straggler_holds_nobody():
    """A batch takes what its longest episode takes: four turns of log-normal length each."""
    spent = {}

    def seconds(seed):
        spent[seed] = lognormal(seed)
        return spent[seed]

    agent = Timed(seconds, script=by_prompt)
    began = time.monotonic()
    rollouts = sampled(agent)
    took = time.monotonic() - began
    assert [r.num_turns for r in rollouts] == [TURNS] * 16 and len(spent) == 64
    # Turn by turn, in the order of the seeds of `sequence_seed`: an episode's are those of its group and member.
    from runners.sampling.problems import sequence_seed

    episodes = [
        sum(spent[sequence_seed(0, "train", group, turn) + member] for turn in range(TURNS))
        for group in range(4)
        for member in range(4)
    ]
    by_turns = sum(
        max(spent[sequence_seed(0, "train", group, turn) + member] for group in range(4) for member in range(4))
        for turn in range(TURNS)
    )
    assert by_turns > 1.3 * max(episodes), "nothing would be shown"
    assert took < 1.1 * max(episodes) + 0.05


@pytest.mark.parametrize(
    "seconds", [lambda seed: 0.0, lambda seed: lognormal(seed) / 30, lambda seed: (seed % 7) / 200]
)
@pytest.mark.parametrize("threads", [0, 3])
def test_the_order_of_arrival_changes_nothing(seconds, threads):
    expected = sampled(ScriptedAgent(script=by_prompt))
    assert plain(sampled(Timed(seconds, script=by_prompt), env_threads=threads)) == plain(expected)


def test_slow_steps_run_beside_each_other():
    began = time.monotonic()
    rollouts = sampled(ScriptedAgent(), {"turns": 1, "seconds": 0.2}, env_threads=8)
    assert len(rollouts) == 16 and time.monotonic() - began < 1.2, "two rounds of eight, not 3.2 s"


def test_a_step_that_hangs_is_a_missing_reward(caplog):
    env = {"turns": 1, "hangs": True}
    made = []

    def make(*_):
        made.append(Slow(**env))
        return made[-1]

    environments = Environments("Slow", {"train": {}, "eval": {}}, make)
    agent = ScriptedAgent(script=lambda prompt, sample: str(sample))
    sampler = Sampler(environments, agent, env_threads=2, env_step_timeout_s=0.3)
    rollouts = sampler.sample(request(groups=2)).rollouts
    assert [np.isnan(r.reward) for r in rollouts] == [True, False, False, False] * 2
    assert sum("took too long" in message for message in caplog.messages) == 2
    # Their environments are not used again.
    sampler.sample(request(groups=2))
    assert len(made) == 10


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_of_the_environment_is_raised(threads):
    agent = Timed(lambda seed: 0.01, script=lambda prompt, sample: "fail" if sample == 2 else "1")
    sampler = Sampler(Environments("Slow", {"train": {}, "eval": {}}, lambda *_: Slow()), agent, env_threads=threads)
    with pytest.raises(ZeroDivisionError, match="of the environment"):
        sampler.sample(request())
    # What was under way then is nobody's: the next sample is its own.
    assert sampler.num_completing == sampler.num_open == 0
    agent.script = by_prompt
    assert plain(sampler.sample(request()).rollouts) == plain(sampled(ScriptedAgent(script=by_prompt)))
