"""How the environments of a Sampler are made, known and closed."""

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest

from runners.sampling import environments as module
from runners.sampling.environments import Environments, make_environment, reset_alike, resolved_options
from runners.sampling.rollout import GroupReset
from runners.support.errors import UserError
from tests.runners.addition_env import AdditionEnv


def broken(size):
    raise TypeError("a fault of its author")


gym.register("Typeless-v0", entry_point=broken)


class Closing(gym.Env):
    """Enters itself in a list when it is closed."""

    def __init__(self, closed):
        self.closed = closed
        self.observation_space, self.action_space = gym.spaces.Text(1), gym.spaces.Text(2)

    def close(self):
        self.closed.append(self)


class Resolving(Closing):
    """Says what its dataset is."""

    def __init__(self, closed):
        super().__init__(closed)
        self.resolved_options = {"dataset": "found"}


@pytest.fixture
def closed():
    return []


@pytest.fixture
def environments(closed):
    made = []

    def make(env_id, options):
        assert env_id == "some-id"
        made.append(options["name"])
        return Closing(closed)

    known = Environments("some-id", {"train": {"name": "t"}, "eval": {"name": "e"}}, make)
    known.made = made
    return known


def test_environments_are_made_when_needed_and_kept(environments):
    assert environments.made == []
    two = environments.take(2, "train")
    environments.give_back(two)
    three = environments.take(3, "train")
    assert three[:2] == two and len(three) == 3 and environments.first("train") is two[0]
    assert environments.take(1, "eval")[0] not in three
    assert environments.made == ["t", "t", "t", "e"]


def test_what_is_played_is_not_taken(environments):
    two = environments.take(2, "train")
    third, fourth = environments.take(2, "train")
    assert {third, fourth}.isdisjoint(two)
    environments.give_back([two[1], third])
    assert environments.take(2, "train") == [two[1], third]
    environments.forget(fourth)
    assert fourth not in environments.take(3, "train")


def test_closing_closes_all_and_others_are_made_next_time(environments, closed):
    everyone = [*environments.take(2, "train"), *environments.take(1, "eval")]
    environments.close()
    assert closed == everyone
    assert environments.first("train") not in everyone
    environments.close()
    assert len(closed) == 4


def test_spaces_are_those_of_training(environments):
    observations, actions = environments.spaces()
    assert (observations.max_length, actions.max_length) == (1, 2)
    assert environments.made == ["t"]


def test_what_an_environment_says_of_its_problems(closed):
    def make(env_id, options):
        env = Closing(closed)
        env.num_problems, env.problems = np.int64(options["count"]), SimpleNamespace(fingerprint=options["print"])
        return env

    known = Environments("any", {"train": {"count": 5, "print": "a"}, "eval": {"count": 3, "print": "b"}}, make)
    counts = [known.num_problems(name) for name in ("train", "eval")]
    assert counts == [5, 3] and type(counts[0]) is int
    assert [known.data_fingerprint(name) for name in ("train", "eval")] == ["a", "b"]


def test_an_environment_that_says_nothing_of_its_problems():
    known = Environments("Addition-v0", {"train": {}, "eval": {}})
    assert known.num_problems("train") is None and known.data_fingerprint("train") is None


def test_ids_with_and_without_a_module():
    assert make_environment("tests.runners.addition_env:Addition-v0", {"digits": 3}).unwrapped.digits == 3
    for env_id, said in (
        ("a:b:c", "write it as id, or module:id"),
        ("NoSuch-v0", "ray.tune.register_env is not asked"),
        ("no_such_module:X-v0", "ray.tune.register_env is not asked"),
    ):
        with pytest.raises(UserError, match=f"--env '{env_id}'.*{said}"):
            make_environment(env_id, {})


@pytest.mark.parametrize("limit", [0, -2, "3", 1.5, True])
def test_a_limit_of_steps_that_is_none_is_the_users_mistake(limit):
    with pytest.raises(UserError, match=f"max_episode_steps={limit!r}: it must be an int >= 1, or -1 for no limit"):
        make_environment("Addition-v0", {"max_episode_steps": limit})


@pytest.mark.parametrize(("limit", "cut"), [(1, True), (2, False), (-1, False), (None, False)])
def test_a_limit_of_steps_ends_the_episode(limit, cut):
    env = make_environment("Addition-v0", {"steps": 3, "max_episode_steps": limit})
    env.reset(seed=0)
    assert env.step("")[2:4] == (False, cut)


def test_an_option_that_is_not_taken_is_the_users_mistake_and_another_type_error_is_not():
    with pytest.raises(UserError, match=r"'Addition-v0' does not take one of \{'colour': 3\}"):
        make_environment("Addition-v0", {"colour": 3})
    with pytest.raises(TypeError, match="a fault of its author"):
        make_environment("Typeless-v0", {"size": 2})


def test_a_group_is_reset_alike_and_the_first_ones_info_counts():
    class Noted(AdditionEnv):
        def reset(self, *, seed=None, options=None):
            self.seen = (seed, options)
            return super().reset(seed=seed)[0], {"env": self}

    group = [Noted(), Noted()]
    observation, info = reset_alike(group, GroupReset(group_id=0, seed=5, options={"index": 3}))
    assert observation == Noted().reset(seed=5)[0] != Noted().reset(seed=6)[0]
    assert info["env"] is group[0] and [env.seen for env in group] == [(5, {"index": 3})] * 2


def test_a_group_that_is_not_posed_one_problem():
    group = [make_environment("Addition-v0", {"group_faithful": False, "digits": 4}) for _ in range(2)]
    group[0].unwrapped.group_faithful = True
    with pytest.raises(UserError, match=r"Addition-v0: .* seed=5 and options=None pose 2 different problems"):
        reset_alike(group, GroupReset(group_id=0, seed=5))


def test_options_are_resolved_where_an_environment_says_to_what(monkeypatch, closed):
    for kind, dataset in ((Resolving, "found"), (Closing, "auto")):
        monkeypatch.setattr(module, "make_environment", lambda env_id, options, kind=kind: kind(closed))
        assert resolved_options("any", {"dataset": "auto", "split": "train"}) == {"dataset": dataset, "split": "train"}
    assert len(closed) == 2
