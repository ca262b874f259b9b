"""KL estimators: values by hand, gradients against the exact divergences of small distributions."""

import math

import pytest
import torch

from runners.objectives.kl import KL_KINDS, kl_estimate, kl_in_reward
from runners.objectives.objective import ObjectiveConfig, ObjectiveInputs, policy_loss


def test_values_by_hand():
    logprobs, reference = torch.tensor([[-1.0, -2.0]]).double(), torch.tensor([[-1.5, -1.0]]).double()
    expected = {
        "k1": [0.5, -1.0],
        "k2": [0.125, 0.5],
        "k3": [math.exp(-0.5) - 1 + 0.5, math.exp(1.0) - 1 - 1.0],
    }
    for kind in KL_KINDS:
        torch.testing.assert_close(kl_estimate(logprobs, reference, kind), torch.tensor([expected[kind]]).double())


def distributions() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of the policy (with gradient) and log-probabilities of the reference, over seven tokens."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, generator=generator, dtype=torch.float64).requires_grad_()
    return logits, torch.randn(7, generator=generator, dtype=torch.float64).log_softmax(0)


def expected_estimate(kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Expectation under the policy of the estimator and of its gradient in the logits: every token, weighted."""
    logits, reference = distributions()
    logps = logits.log_softmax(0)
    mean = (logps.exp().detach() * kl_estimate(logps[None], reference[None], kind)[0]).sum()
    return mean.detach(), torch.autograd.grad(mean, logits)[0]


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_c20_values_of_k1_and_k3_are_unbiased(kind):
    logits, reference = distributions()
    logps = logits.log_softmax(0)
    torch.testing.assert_close(expected_estimate(kind)[0], (logps.exp() * (logps - reference)).sum().detach())


def test_c20_k1_in_the_loss_has_no_expected_gradient():
    torch.testing.assert_close(expected_estimate("k1")[1], torch.zeros(7).double())


def test_c20_k2_in_the_loss_has_the_reverse_kls_gradient():
    logits, reference = distributions()
    logps = logits.log_softmax(0)
    (reverse,) = torch.autograd.grad((logps.exp() * (logps - reference)).sum(), logits)
    torch.testing.assert_close(expected_estimate("k2")[1], reverse)


def test_c20_k3_in_the_loss_has_the_forward_kls_gradient():
    logits, reference = distributions()
    (forward,) = torch.autograd.grad((reference.exp() * (reference - logits.log_softmax(0))).sum(), logits)
    torch.testing.assert_close(expected_estimate("k3")[1], forward)


def test_c20_k1_in_the_reward_has_the_reverse_kls_gradient():
    logits, reference = distributions()
    logps = logits.log_softmax(0)
    rewards = kl_in_reward(
        torch.zeros(7), logps[:, None], reference[:, None], torch.ones(7, 1, dtype=torch.bool), kl_coeff=1.0
    )
    (score,) = torch.autograd.grad((logps.exp().detach() * -rewards * logps).sum(), logits)
    logps = logits.log_softmax(0)
    (reverse,) = torch.autograd.grad((logps.exp() * (logps - reference)).sum(), logits)
    torch.testing.assert_close(score, reverse)


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_c20_weighed_by_the_ratio_k1_and_k3_have_the_reverse_kls_gradient(kind):
    """Also off-policy: the tokens are those of an old policy that is neither the current one nor the reference."""
    logits, reference = distributions()
    old = torch.linspace(-1, 1, 7).double().log_softmax(0)
    logps = logits.log_softmax(0)
    inputs = ObjectiveInputs(
        logprobs=pad(logps),
        entropies=torch.zeros(7, 2).double(),
        old_logprobs=pad(old),
        ref_logprobs=pad(reference),
        advantages=torch.zeros(7).double(),
        loss_mask=torch.tensor([[False, True]] * 7),
        loss_weights=old.exp(),
    )
    config = ObjectiveConfig(kl_coeff=1.0, kl_estimator=kind, kl_unbiased=True, importance_cap=None)
    (gradient,) = torch.autograd.grad(policy_loss(inputs, config)[0], logits)
    logps = logits.log_softmax(0)
    (reverse,) = torch.autograd.grad((logps.exp() * (logps - reference)).sum(), logits)
    torch.testing.assert_close(gradient, reverse)


def pad(values: torch.Tensor) -> torch.Tensor:
    """[B] -> [B, 2], each value at position 1, where a completion can begin."""
    return torch.nn.functional.pad(values[:, None], (1, 0))


@pytest.mark.parametrize("kind", KL_KINDS)
def test_c19_reference_carries_no_gradient_and_exponent_is_clamped(kind):
    logprobs = torch.tensor([[-1000.0, -1.0]], requires_grad=True)
    reference = torch.tensor([[-1.0, -1000.0]], requires_grad=True)
    estimate = kl_estimate(logprobs, reference, kind)
    estimate.sum().backward()
    assert torch.isfinite(estimate).all() and torch.isfinite(logprobs.grad).all() and reference.grad is None


def test_k3_keeps_its_digits_near_the_reference():
    # d^2 / 2 to leading order; exp(-d) - 1 + d in float32 would give 0 or noise of 1e-7.
    estimate = kl_estimate(torch.tensor([[-1.0]]), torch.tensor([[-1.0 - 2.0**-10]]), "k3")
    torch.testing.assert_close(estimate, torch.tensor([[2.0**-21]]), rtol=1e-3, atol=0)


def test_kl_in_reward_by_hand():
    logprobs, reference = torch.tensor([[-9.0, -1.0, -2.0]] * 2), torch.tensor([[0.0, -1.5, -4.0]] * 2)
    mask = torch.tensor([[False, True, True], [False, True, False]])
    rewards = kl_in_reward(torch.tensor([1.0, math.nan]), logprobs, reference, mask, kl_coeff=0.1)
    assert rewards[0].item() == pytest.approx(1.0 - 0.1 * 2.5) and math.isnan(rewards[1])
    assert not kl_in_reward(torch.ones(2), logprobs.requires_grad_(), reference, mask, kl_coeff=1.0).requires_grad


def test_unknown_kind():
    with pytest.raises(ValueError, match=r"'k4'\. Known: k1, k2, k3"):
        kl_estimate(torch.zeros(1, 1), torch.zeros(1, 1), "k4")
