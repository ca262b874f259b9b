"""Minibatches and micro-batches."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runners.objectives.batching import micro_batches, plan_minibatches, trim


def test_every_epoch_is_a_fresh_partition():
    plan = plan_minibatches(24, 6, 3, np.random.default_rng(0))
    assert plan.shape == (3, 24) and plan.dtype == np.int64
    assert all(np.bincount(epoch).tolist() == [6] * 4 for epoch in plan)
    assert (plan[0] != plan[1]).any() and (plan[1] != plan[2]).any()
    assert (plan == plan_minibatches(24, 6, 3, np.random.default_rng(0))).all()
    assert not plan_minibatches(5, None, 1, np.random.default_rng(0)).any()
    assert sorted(plan_minibatches(3, 1, 1, np.random.default_rng(0))[0].tolist()) == [0, 1, 2]


def test_rows_that_dont_divide():
    with pytest.raises(ValueError, match=r"10 rows .* minibatches of 4"):
        plan_minibatches(10, 4, 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="num_epochs"):
        plan_minibatches(10, 5, 0, np.random.default_rng(0))


def test_c11_groups_stay_together_by_id():
    rng = np.random.default_rng(0)
    group_ids = rng.permutation(np.repeat([9, 4, 100, 7], 3))
    plan = plan_minibatches(12, 6, 4, rng, group_ids)
    for epoch in plan:
        assert np.bincount(epoch).tolist() == [6, 6]
        assert all(len(set(epoch[group_ids == group])) == 1 for group in group_ids)
    assert len({tuple(epoch) for epoch in plan}) > 1
    with pytest.raises(ValueError, match=r"Groups of \[3\] rows .* minibatches of 4"):
        plan_minibatches(12, 4, 1, rng, group_ids)
    with pytest.raises(ValueError, match=r"Groups of \[1, 3\] rows"):
        plan_minibatches(4, 4, 1, rng, np.array([0, 0, 0, 1]))


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 100))
def test_micro_batches_hold_every_row_once_within_the_budget(lengths, max_tokens):
    batches = micro_batches(np.array(lengths, dtype=np.int64), max_tokens)
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
    for rows in batches:
        assert len(rows) == 1 or len(rows) * max(lengths[row] for row in rows) <= max_tokens


def test_micro_batches_by_hand():
    batches = micro_batches(np.array([3, 8, 2, 8, 3]), 16)
    assert [rows.tolist() for rows in batches] == [[1, 3], [0, 4, 2]]
    with pytest.raises(ValueError, match="=0"):
        micro_batches(np.array([1]), 0)


def test_trim_cuts_padding_only():
    token_ids = torch.arange(12).reshape(2, 6)
    ids, extra = trim(torch.tensor([2, 4]), token_ids, token_ids[..., None])
    assert ids.tolist() == token_ids[:, :4].tolist() and extra.shape == (2, 4, 1)
