"""The critic's loss by hand and against RLlib's formula, and that its parts add up."""

import math

import pytest
import torch
from ray.rllib.utils.torch_utils import explained_variance as rllib_explained_variance

from runners.objectives.gae import Moments
from runners.objectives.value_loss import explained_variance, value_loss


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    values, targets = torch.randn(2, 6, 9, generator=generator, dtype=torch.float64)
    mask = torch.rand(6, 9, generator=generator) < 0.5
    weights = torch.full((6,), 1.0 / mask.sum().item(), dtype=torch.float64)
    return values.requires_grad_(), targets, mask, weights


def test_by_hand():
    values = torch.tensor([[9.0, 1.0, 2.0], [3.0, 9.0, 9.0]], requires_grad=True)
    targets = torch.tensor([[9.0, 0.0, 5.0], [3.5, 9.0, 9.0]])
    mask = torch.tensor([[False, True, True], [True, False, False]])
    weights = torch.tensor([0.5, 2.0])
    assert value_loss(values, targets, mask, weights).item() == 0.5 * (1 + 9) + 2 * 0.25
    clipped = value_loss(values, targets, mask, weights, vf_clip_param=4.0)
    assert clipped.item() == 0.5 * (1 + 4) + 2 * 0.25
    clipped.backward()
    assert values.grad.tolist() == [[0.0, 1.0, 0.0], [-2.0, 0.0, 0.0]]


@pytest.mark.parametrize("vf_clip_param", [0.5, math.inf])
def test_token_mean_is_rllibs(batch, vf_clip_param):
    values, targets, mask, _ = batch
    theirs = torch.clamp(torch.pow(values - targets, 2.0), 0, vf_clip_param)[mask].mean()
    torch.testing.assert_close(value_loss(*batch, vf_clip_param=vf_clip_param), theirs)


def test_parts_add_up_and_rows_without_weight_are_left_out(batch):
    whole = value_loss(*batch)
    parts = [value_loss(*(column[rows] for column in batch)) for rows in (slice(0, 1), slice(1, 4), slice(4, 6))]
    torch.testing.assert_close(sum(parts), whole)
    values, targets, mask, weights = batch
    left_out = torch.arange(6) == 2
    without = value_loss(values, targets, mask, weights.masked_fill(left_out, 0.0))
    poisoned = targets.where(mask & ~left_out[:, None], math.nan)
    dirty = value_loss(values, poisoned, mask, weights.masked_fill(left_out, 0.0))
    assert torch.equal(without, dirty) and without < whole
    (gradient,) = torch.autograd.grad(dirty, values)
    assert gradient.isfinite().all() and not gradient[left_out].any()


def test_explained_variance_is_rllibs(batch):
    values, targets, mask, _ = batch
    for predictions in (values.detach(), targets + 0.1 * values.detach(), -targets):
        ours = explained_variance(Moments.of(targets, mask), Moments.of(targets - predictions, mask))
        assert ours == pytest.approx(rllib_explained_variance(targets[mask], predictions[mask]).item(), abs=1e-5)


def test_a_perfect_critic_a_constant_one_and_nothing_to_explain():
    targets, none = Moments(count=2, total=1, squares=1), Moments(count=2)
    assert explained_variance(targets, none) == 1.0
    assert explained_variance(targets, targets) == 0.0
    assert explained_variance(none, targets) == 0.0
