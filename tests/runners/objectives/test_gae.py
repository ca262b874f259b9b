"""Advantages of single tokens: by hand, against RLlib's own, and whatever lies outside the mask."""

import math

import numpy as np
import pytest
import torch
from ray.rllib.utils.postprocessing.value_predictions import compute_value_targets

from runners.objectives.gae import MIN_STD, Moments, generalized_advantages, token_rewards, whiten

NAN = math.nan


def random_batch(seed=0, num_rows=5, num_tokens=12):
    """Values, rewards at every token, and a mask with holes; the last row has no token of its own."""
    generator = torch.Generator().manual_seed(seed)
    values, rewards = torch.randn(2, num_rows, num_tokens, generator=generator, dtype=torch.float64)
    mask = torch.rand(num_rows, num_tokens, generator=generator) < 0.6
    mask[-1] = False
    return values, rewards, mask


def test_by_hand_over_two_turns():
    # Two own tokens, one of the environment's, and a last own one; gamma * lambda_ = 1/4.
    mask = torch.tensor([[False, True, True, False, True]])
    values = torch.tensor([[NAN, 1.0, 2.0, NAN, 4.0]])
    rewards = token_rewards(torch.tensor([8.0]), mask)
    result = generalized_advantages(values, rewards, mask, gamma=0.5, lambda_=0.5)
    # Backwards: delta = 8 - 4; then 0.5 * 4 - 2 = 0, plus 4 / 4; then 0.5 * 2 - 1 = 0, plus 1 / 4.
    assert result.advantages.tolist() == [[0.0, 0.25, 1.0, 0.0, 4.0]]
    assert result.value_targets.tolist() == [[0.0, 1.25, 3.0, 0.0, 8.0]]


@pytest.mark.parametrize("gamma, lambda_", [(1.0, 1.0), (0.99, 0.95), (0.9, 0.0), (0.0, 1.0)])
def test_equals_rllibs(gamma, lambda_):
    values, rewards, mask = random_batch()
    ours = generalized_advantages(values, rewards, mask, gamma=gamma, lambda_=lambda_)
    # RLlib takes episodes laid end to end: the own tokens of one row after the other, the last of each terminal.
    last = np.zeros(int(mask.sum()))
    last[np.cumsum([n for n in mask.sum(1).tolist() if n]) - 1] = 1.0
    theirs = compute_value_targets(
        values[mask].numpy(), rewards[mask].numpy(), last, np.zeros_like(last), gamma=gamma, lambda_=lambda_
    )
    np.testing.assert_allclose(ours.value_targets[mask].numpy(), theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.advantages[mask], ours.value_targets[mask] - values[mask])


def test_without_discount_and_bias_the_target_is_the_rest_of_the_rewards():
    values, rewards, mask = random_batch(seed=1)
    result = generalized_advantages(values, rewards, mask)
    rest = rewards.where(mask, 0.0).flip(1).cumsum(1).flip(1).where(mask, 0.0)
    torch.testing.assert_close(result.value_targets, rest)


def test_what_lies_outside_the_mask_never_enters():
    values, rewards, mask = random_batch(seed=2)
    clean = generalized_advantages(values, rewards, mask, gamma=0.9, lambda_=0.9)
    poisoned = (tensor.where(mask, math.inf) for tensor in (values, rewards))
    dirty = generalized_advantages(*poisoned, mask, gamma=0.9, lambda_=0.9)
    assert torch.equal(clean.advantages, dirty.advantages) and torch.equal(clean.value_targets, dirty.value_targets)
    assert not clean.advantages[~mask].any() and not clean.value_targets[~mask].any()


def test_no_gradient_and_the_dtype_of_the_values():
    values, rewards, mask = random_batch(seed=3)
    result = generalized_advantages(values.float().requires_grad_(), rewards, mask)
    assert not result.advantages.requires_grad and not result.value_targets.requires_grad
    assert result.advantages.dtype == result.value_targets.dtype == torch.float32


def test_the_reward_stands_at_the_last_own_token_and_the_penalty_at_each():
    mask = torch.tensor([[False, True, True, False], [True, False, True, True], [False, False, False, False]])
    penalty = torch.tensor([[9.0, 0.5, 0.25, 9.0], [1.0, 9.0, 2.0, 3.0], [9.0, 9.0, 9.0, 9.0]])
    expected = [[0.0, -0.5, 0.75, 0.0], [-1.0, 0.0, -2.0, -1.0], [0.0, 0.0, 0.0, 0.0]]
    assert token_rewards(torch.tensor([1.0, 2.0, 5.0]), mask, penalty).tolist() == expected


def test_moments_of_parts_add_up():
    values, _, mask = random_batch(seed=4)
    whole = Moments.of(values, mask)
    parts = Moments.of(values[:2], mask[:2]) + Moments.of(values[2:], mask[2:])
    assert (parts.count, parts.total, parts.squares) == pytest.approx((whole.count, whole.total, whole.squares))
    assert whole.mean == pytest.approx(values[mask].mean().item())
    assert whole.variance == pytest.approx(values[mask].var(correction=0).item())
    assert Moments() + whole == whole and Moments().mean == Moments().variance == 0.0


def test_whitened_by_the_whole_batch():
    values, _, mask = random_batch(seed=5)
    moments = Moments.of(values, mask)
    white = torch.cat([whiten(values[rows], mask[rows], moments) for rows in (slice(0, 2), slice(2, 5))])
    assert white[mask].mean().item() == pytest.approx(0.0, abs=1e-12)
    assert white[mask].std(correction=0).item() == pytest.approx(1.0)
    assert not white[~mask].any()


def test_advantages_that_hardly_differ_stay_small():
    mask = torch.ones(1, 2, dtype=torch.bool)
    nearly_equal = torch.tensor([[0.5 - 1e-9, 0.5 + 1e-9]], dtype=torch.float64)
    white = whiten(nearly_equal, mask, Moments.of(nearly_equal, mask))
    torch.testing.assert_close(white, torch.tensor([[-1e-9, 1e-9]], dtype=torch.float64) / MIN_STD)
