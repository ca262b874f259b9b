"""Truncated importance weights between engine and learner."""

import math
import warnings

import pytest
import torch

from runners.objectives.importance import logprob_difference, truncated_importance_weights, warn_on_mismatch

OLD = torch.tensor([[-5.0, -1.0, -1.0, -1.0], [-5.0, -2.0, -2.0, -2.0]])
ROLLOUT = torch.tensor([[0.0, -1.5, -3.0, -0.5], [0.0, -2.0, -1.8, -9.0]])
MASK = torch.tensor([[False, True, True, True], [False, True, True, False]])


def test_token_weights_by_hand():
    weights = truncated_importance_weights(OLD, ROLLOUT, MASK, cap=2.0)
    expected = [[1, math.exp(0.5), 2.0, math.exp(-0.5)], [1, 1.0, math.exp(-0.2), 1]]
    torch.testing.assert_close(weights, torch.tensor(expected))


def test_sequence_weights_by_hand():
    weights = truncated_importance_weights(OLD, ROLLOUT, MASK, cap=3.0, level="sequence")
    torch.testing.assert_close(weights, torch.tensor([[3.0] * 4, [math.exp(-0.2)] * 4]))  # exp(0.5 + 2 - 0.5) > 3


def test_geometric_weights_by_hand():
    weights = truncated_importance_weights(OLD, ROLLOUT, MASK, cap=3.0, level="geometric")
    expected = [[math.exp(2.0 / 3)] * 4, [math.exp(-0.1)] * 4]
    torch.testing.assert_close(weights, torch.tensor(expected))


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("token", [[1, math.exp(0.5), 0.0, math.exp(-0.5)], [1, 1.0, math.exp(-0.2), 1]]),
        ("sequence", [[0.0] * 4, [math.exp(-0.2)] * 4]),
    ],
)
def test_what_is_over_the_cap_can_be_left_out(level, expected):
    weights = truncated_importance_weights(OLD, ROLLOUT, MASK, cap=3.0, level=level, over_cap="mask")
    torch.testing.assert_close(weights, torch.tensor(expected))


@pytest.mark.parametrize("level", ["token", "sequence", "geometric"])
def test_c19_no_gradient_and_clamped(level):
    old = (OLD * 1e4).requires_grad_()
    weights = truncated_importance_weights(old, ROLLOUT * 1e5, MASK, cap=1e30, level=level)
    assert torch.isfinite(weights).all() and not weights.requires_grad


def test_values_outside_the_mask_are_ignored():
    dirty = ROLLOUT.masked_fill(~MASK, math.nan)
    torch.testing.assert_close(
        truncated_importance_weights(OLD, dirty, MASK, 2.0), truncated_importance_weights(OLD, ROLLOUT, MASK, 2.0)
    )


def test_c22_difference_by_hand():
    total, largest, exps = logprob_difference(OLD, ROLLOUT.masked_fill(~MASK, math.nan), MASK)
    assert total.item() == pytest.approx(0.5 + 2.0 + 0.5 + 0.0 + 0.2) and largest.item() == 2.0
    assert exps.item() == pytest.approx(2 * math.exp(0.5) + math.exp(2.0) + 1.0 + math.exp(0.2))
    assert all(value.item() == 0 for value in logprob_difference(OLD, ROLLOUT, torch.zeros_like(MASK)))


@pytest.mark.parametrize(("mean", "warned"), [(0.009, False), (0.011, True), (math.nan, True)])
def test_c22_mismatch_warns_above_the_bound(mean, warned):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert warn_on_mismatch(mean, 1.0, 9.0, stale=False) is warned
    assert len(caught) == warned


@pytest.mark.parametrize(("exp_mean", "warned"), [(1.49, False), (1.51, True), (math.nan, True)])
def test_samples_meant_to_be_stale_warn_once_they_are_far_off(exp_mean, warned):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert warn_on_mismatch(0.4, 3.0, exp_mean, stale=True) is warned
    assert len(caught) == warned
