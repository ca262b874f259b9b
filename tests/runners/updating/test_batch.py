from dataclasses import replace

import numpy as np
import pytest

from runners.objectives.advantages import group_advantages
from runners.sampling.rollout import Rollout
from runners.updating.batch import BatchPlan, build_train_batch, padded_columns


def rollout(group_id, prompt, completion, reward=0.0, finish_reason="stop"):
    return Rollout(
        group_id=group_id,
        observation="",
        text="",
        prompt_token_ids=tuple(prompt),
        completion_token_ids=tuple(completion),
        completion_mask=np.ones(len(completion), dtype=np.bool_),
        turn_lengths=(len(completion),),
        rollout_logprobs=-np.arange(1, len(completion) + 1, dtype=np.float32),
        reward=reward,
        correct=None,
        finish_reason=finish_reason,
        policy_version=0,
    )


def plan(**changes):
    settings = {
        "minibatch_size": None,
        "num_epochs": 1,
        "aggregation": "token-mean",
        "max_tokens": 10,
        "mask_truncated": False,
        "num_learners": 1,
    }
    return BatchPlan(**(settings | changes))


def build(rollouts, seed=0, **changes):
    rewards, ids = np.array([r.reward for r in rollouts]), np.array([r.group_id for r in rollouts])
    return build_train_batch(rollouts, group_advantages(rewards, ids), plan(**changes), np.random.default_rng(seed))


FOUR = [
    rollout(0, [5, 6], [7, 8, 3], 1.0),
    rollout(0, [5, 6], [3], 0.0),
    rollout(1, [9], [3, 3], 0.0),
    rollout(1, [9], [4, 4, 4, 4], 1.0, "length"),
]


def test_c5_c7_c8_columns_hold_the_engines_tokens_and_masks_come_from_lengths():
    columns = padded_columns(FOUR)
    assert columns["token_ids"].tolist() == [[5, 6, 7, 8, 3], [5, 6, 3, 0, 0], [9, 3, 3, 0, 0], [9, 4, 4, 4, 4]]
    assert columns["loss_mask"].astype(int).tolist() == [
        [0, 0, 1, 1, 1],
        [0, 0, 1, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 1, 1, 1, 1],
    ]
    assert columns["rollout_logprobs"].tolist() == [
        [0, 0, -1, -2, -3],
        [0, 0, -1, 0, 0],
        [0, -1, -2, 0, 0],
        [0, -1, -2, -3, -4],
    ]
    assert columns["lengths"].tolist() == [5, 3, 3, 5]


def test_c7_c8_masks_do_not_look_at_ids():
    padding, end = 0, 3
    columns = padded_columns([rollout(0, [5, end], [7, end]), rollout(0, [5, padding, 6], [padding, 8, end])])
    assert columns["token_ids"].tolist() == [[5, 3, 7, 3, 0, 0], [5, 0, 6, 0, 8, 3]]
    assert columns["loss_mask"].astype(int).tolist() == [[0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1]]


def test_several_turns_leave_the_users_messages_out():
    two_turns = replace(
        rollout(0, [5, 6], [7, 3, 9, 9, 8]),
        completion_mask=np.array([True, True, False, False, True]),
        turn_lengths=(2, 1),
        rollout_logprobs=np.array([-1, -2, 0, 0, -3], dtype=np.float32),
    )
    columns = build([two_turns, rollout(0, [5, 6], [3], 1.0)])
    row = int(columns["lengths"].argmax())
    assert columns["token_ids"][row].tolist() == [5, 6, 7, 3, 9, 9, 8]
    assert columns["loss_mask"][row].astype(int).tolist() == [0, 0, 1, 1, 0, 0, 1]
    assert columns["rollout_logprobs"][row].tolist() == [0, 0, -1, -2, 0, 0, -3]
    assert columns["loss_weights_0"].tolist() == pytest.approx([1 / 4] * 2)  # 3 own tokens and 1
    columns = build([two_turns, rollout(0, [5, 6], [3], 1.0)], aggregation="constant-length")
    assert columns["loss_weights_0"].tolist() == pytest.approx([1 / 30] * 2)  # 2 turns and 1, of 10 tokens each


def test_logprobs_off_the_mask_are_refused():
    with pytest.raises(AssertionError):
        replace(rollout(0, [5], [7, 8]), completion_mask=np.array([True, False]))


def test_token_mean_weights_are_one_over_all_tokens():
    assert build(FOUR)["loss_weights_0"].tolist() == pytest.approx([1 / 10] * 4)


def test_c10_masked_truncated_sequences_leave_the_denominator_too():
    columns = build(FOUR, mask_truncated=True)
    by_length = dict(zip(columns["loss_mask"].sum(axis=1).tolist(), columns["loss_weights_0"].tolist(), strict=True))
    assert by_length == pytest.approx({3: 1 / 6, 1: 1 / 6, 2: 1 / 6, 4: 0.0})


def test_c14_missing_rewards_leave_the_denominator_too():
    rollouts = [*FOUR[:3], rollout(1, [9], [4, 4, 4, 4], float("nan"))]
    columns = build(rollouts)
    # Group 1 has one known reward left, which has no baseline: both its rows are out.
    assert sorted(columns["loss_weights_0"].tolist()) == pytest.approx([0.0, 0.0, 1 / 4, 1 / 4])


def test_c16_each_minibatch_has_weights_of_its_own_and_each_row_one_place_an_epoch():
    rollouts = [rollout(i // 4, [5], [3] * (i % 3 + 1), float(i % 2)) for i in range(16)]
    columns = build(rollouts, minibatch_size=4, num_epochs=2)
    lengths = columns["loss_mask"].sum(axis=1)
    for epoch in range(2):
        ids = columns[f"minibatch_{epoch}"]
        assert np.bincount(ids).tolist() == [4, 4, 4, 4]
        for minibatch in range(4):
            rows = ids == minibatch
            assert (columns[f"loss_weights_{epoch}"][rows] * lengths[rows]).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(4))  # in some of them the second epoch deals the groups otherwise
def test_c11_shards_hold_equal_parts_of_every_minibatch_and_rows_keep_their_advantage(seed):
    rollouts = [rollout(i // 4, [5], [i + 1], float(i % 2)) for i in range(16)]
    columns = build(rollouts, seed, minibatch_size=8, num_learners=2, num_epochs=2)
    for shard in np.split(columns["minibatch_0"], 2):
        assert np.bincount(shard).tolist() == [4, 4]
    # The completion's one token tells which rollout a row was; odd ones had reward 1.
    tokens = columns["token_ids"][:, 1] - 1
    assert sorted(tokens.tolist()) == list(range(16))
    assert (np.sign(columns["advantages"]) == np.where(tokens % 2 == 1, 1, -1)).all()


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="num_learners=3"):
        build(FOUR, num_learners=3)
    with pytest.raises(ValueError, match="3"):
        build(FOUR, minibatch_size=3)
