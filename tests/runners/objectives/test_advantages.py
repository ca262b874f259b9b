"""Advantage estimators against numbers worked by hand."""

import numpy as np
import pytest

from runners.objectives.advantages import (
    ADVANTAGES,
    GroupAdvantages,
    estimate_advantages,
    group_advantages,
    register_advantage,
)

NAN = float("nan")


def estimate(name: str, rewards: list[float], group_ids: list[int]) -> GroupAdvantages:
    return ADVANTAGES.lookup(name)(np.array(rewards), np.array(group_ids))


def test_grpo_by_hand():
    # Group 0: mean 1/4, deviations 3/4 and three of -1/4, squares 9/16 + 3/16 = 3/4, std = sqrt((3/4) / 3) = 1/2.
    result = estimate("grpo", [1, 0, 0, 0], [0, 0, 0, 0])
    np.testing.assert_allclose(result.advantages, [0.75 / 0.5001] + [-0.25 / 0.5001] * 3, rtol=1e-14)
    assert result.advantages.dtype == np.float64 and result.valid.all()


def test_c13_ddof_and_eps_are_as_stated():
    rewards, ids = np.array([1.0, 0.0]), np.array([0, 0])
    # ddof 1: sqrt(0.5); ddof 0: 1/2.
    np.testing.assert_allclose(group_advantages(rewards, ids).advantages[0], 0.5 / (0.5**0.5 + 1e-4), rtol=1e-14)
    np.testing.assert_allclose(group_advantages(rewards, ids, ddof=0, eps=0.5).advantages, [0.5, -0.5], rtol=1e-14)


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo", "gpg"])
@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, 1 / 3, -1e9, 1e-9])
@pytest.mark.parametrize("size", [2, 3, 7])
def test_c13_zero_spread_gives_exactly_zero(name, reward, size):
    result = estimate(name, [reward] * size + [0.0, 1.0], [0] * size + [1, 1])
    assert (result.advantages[:size] == 0.0).all() and result.valid.all()
    assert result.num_groups == 2 and result.num_zero_variance_groups == 1


def test_c15_zero_variance_groups_are_counted():
    result = estimate("grpo", [1, 1, 0, 0, 1, 0, NAN, NAN, 1, NAN], [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    assert (result.num_groups, result.num_zero_variance_groups) == (5, 2)


@pytest.mark.parametrize("name", sorted(ADVANTAGES))
def test_c11_groups_go_by_id_not_position(name):
    rng = np.random.default_rng(0)
    rewards, ids = rng.normal(size=12), np.repeat([40, 7, -3, 11], 3)
    order = rng.permutation(12)
    straight, shuffled = estimate(name, rewards, ids), estimate(name, rewards[order], ids[order])
    np.testing.assert_allclose(shuffled.advantages, straight.advantages[order], rtol=1e-12)
    alone = estimate("grpo", rewards[3:6], [0, 0, 0])
    np.testing.assert_allclose(estimate("grpo", rewards, ids).advantages[3:6], alone.advantages, rtol=1e-12)


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo", "gpg"])
def test_c12_a_group_of_one_is_an_error(name):
    with pytest.raises(ValueError, match=r"1 of 2 groups.*group_size >= 2"):
        estimate(name, [1, 0, 1], [0, 0, 1])


@pytest.mark.parametrize("name", sorted(ADVANTAGES))
def test_c14_a_missing_reward_is_not_zero(name):
    rewards, ids = [1, 0, 0.5, NAN], [0, 0, 0, 0]
    with_missing, without = estimate(name, rewards, ids), estimate(name, rewards[:3], ids[:3])
    np.testing.assert_allclose(with_missing.advantages[:3], without.advantages, rtol=1e-14)
    assert with_missing.advantages[3] == 0.0
    assert with_missing.valid.tolist() == [True, True, True, False]


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo", "gpg"])
def test_c14_one_known_reward_leaves_nothing_to_compare(name):
    result = estimate(name, [1, NAN, 1, 0, NAN, NAN], [0, 0, 1, 1, 2, 2])
    assert result.valid.tolist() == [False, False, True, True, False, False]
    assert (result.advantages[[0, 1, 4, 5]] == 0).all() and np.isfinite(result.advantages).all()


def test_dr_grpo_by_hand():
    assert estimate("dr_grpo", [4, 1, 1, 2], [0, 0, 0, 0]).advantages.tolist() == [2, -1, -1, 0]


def test_rloo_by_hand():
    # Others' means: (0 + 2) / 2 = 1, (3 + 2) / 2 = 2.5, (3 + 0) / 2 = 1.5.
    np.testing.assert_allclose(estimate("rloo", [3, 0, 2], [5, 5, 5]).advantages, [2, -2.5, 0.5], rtol=1e-14)


def test_gpg_by_hand():
    # Of three valid groups two have spread: alpha = 3 / 2. The last group has one known reward and is not valid.
    result = estimate("gpg", [1, 0, 1, 1, 0, 4, 1, NAN], [0, 0, 1, 1, 2, 2, 3, 3])
    assert result.advantages.tolist() == [0.75, -0.75, 0, 0, -3, 3, 0, 0]
    assert estimate("gpg", [1, 1], [0, 0]).advantages.tolist() == [0, 0]


def test_estimators_without_groups_by_hand():
    rewards, ids = [3, 1, 1, 3], [0, 0, 1, 2]
    assert estimate("reinforce", rewards, ids).advantages.tolist() == rewards
    assert estimate("reinforce_batch", rewards, ids).advantages.tolist() == [1, -1, -1, 1]
    std = (4 / 3) ** 0.5
    np.testing.assert_allclose(
        estimate("reinforce++", rewards, ids).advantages, np.array([1, -1, -1, 1]) / (std + 1e-4), rtol=1e-14
    )


def test_estimators_without_groups_learn_from_zero_variance_groups_and_count_them():
    result = estimate("reinforce_batch", [1, 1, 0, 0], [0, 0, 1, 1])
    assert result.advantages.tolist() == [0.5, 0.5, -0.5, -0.5] and result.num_zero_variance_groups == 2
    assert estimate("reinforce", [1, 1], [0, 0]).advantages.tolist() == [1, 1]
    assert estimate("reinforce++", [0.1] * 3, [0, 1, 2]).advantages.tolist() == [0, 0, 0]


def test_infinite_reward_is_an_error():
    with pytest.raises(ValueError, match="row 1 is inf"):
        estimate("grpo", [0, float("inf")], [0, 0])


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'gropo'\. Did you mean 'grpo'\?.*dr_grpo, gae, gpg, grpo, reinforce"):
        ADVANTAGES.lookup("gropo")
    with pytest.raises(ValueError, match=r"cannot be imported: .*Its folder must be the current one or on PYTHONPATH"):
        ADVANTAGES.lookup("no_such_module:f")


def test_users_own_estimator():
    @register_advantage("sign")
    def sign(rewards, group_ids):
        valid = np.ones(len(rewards), bool)
        return GroupAdvantages(advantages=np.sign(rewards - 0.5), valid=valid, num_groups=1, num_zero_variance_groups=0)

    try:
        assert estimate("sign", [1, 0], [0, 0]).advantages.tolist() == [1, -1]
    finally:
        del ADVANTAGES["sign"]
    assert ADVANTAGES.lookup("runners.objectives.advantages:grpo") is ADVANTAGES["grpo"]


def rewards_themselves(rewards, group_ids):
    return rewards


def one_for_all(rewards, group_ids):
    return GroupAdvantages(advantages=np.zeros(1), valid=np.ones(1, bool), num_groups=1, num_zero_variance_groups=0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rewards_themselves", "returned a ndarray; it must return GroupAdvantages"),
        ("one_for_all", r"returned advantages of shape \(1,\) for rewards of shape \(2,\)"),
        ("NAN", "is a float; it must be a Callable"),
        ("missing", "has no attribute 'missing'"),
    ],
)
def test_what_is_wrong_with_a_users_own_is_said(name, message):
    with pytest.raises(ValueError, match=message):
        estimate_advantages(f"{__name__}:{name}", np.zeros(2), np.zeros(2))


def test_a_batch_of_one_is_an_error():
    with pytest.raises(ValueError, match=r"num_prompts \* group_size >= 2"):
        estimate("reinforce_batch", [1], [0])
