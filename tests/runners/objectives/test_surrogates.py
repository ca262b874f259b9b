"""Surrogate losses and their gradients against numbers worked by hand."""

import math

import pytest
import torch

from runners.objectives.surrogates import SURROGATES, SurrogateInputs, TokenLoss, register_surrogate

E = math.exp


def inputs(log_ratio, advantages, **options) -> SurrogateInputs:
    """[B, T] log ratios; the logprobs are a leaf with gradient and old_logprobs are -1."""
    log_ratio = torch.tensor(log_ratio, dtype=torch.float64)
    old = torch.full_like(log_ratio, -1.0)
    options.setdefault("loss_mask", torch.ones_like(log_ratio, dtype=torch.bool))
    return SurrogateInputs(
        logprobs=(old + log_ratio).requires_grad_(),
        old_logprobs=old,
        advantages=torch.tensor(advantages, dtype=torch.float64),
        **options,
    )


def run(name: str, given: SurrogateInputs) -> tuple[TokenLoss, torch.Tensor]:
    result = SURROGATES.lookup(name)(given)
    (gradient,) = torch.autograd.grad(result.loss.sum(), given.logprobs)
    return result, gradient


def close(actual: torch.Tensor, expected) -> None:
    torch.testing.assert_close(actual.detach(), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_clip_by_hand():
    # Ratios e^0.1 = 1.105 (inside), e^0.5 = 1.649 (above 1.3), e^-0.5 = 0.607 (below 0.8); A = 2 and -2.
    given = inputs([[0.1, 0.5, -0.5]] * 2, [2.0, -2.0], clip_param=0.2, clip_param_high=0.3)
    result, gradient = run("clip", given)
    close(result.loss, [[-2 * E(0.1), -2 * 1.3, -2 * E(-0.5)], [2 * E(0.1), 2 * E(0.5), 2 * 0.8]])
    close(gradient, [[-2 * E(0.1), 0.0, -2 * E(-0.5)], [2 * E(0.1), 2 * E(0.5), 0.0]])
    assert result.clipped.tolist() == [[False, True, False], [False, False, True]]


def test_upper_clip_defaults_to_the_lower_one():
    result, _ = run("clip", inputs([[0.5]], [1.0], clip_param=0.1))
    close(result.loss, [[-1.1]])


def test_dual_clip_by_hand():
    # A = -1: ratio e^2 = 7.39 costs at most c = 3 and then has no gradient; A = +1 is not touched.
    given = inputs([[2.0, 1.0], [2.0, 1.0]], [-1.0, 1.0], dual_clip=3.0)
    result, gradient = run("clip", given)
    close(result.loss, [[3.0, E(1.0)], [-1.2, -1.2]])
    close(gradient, [[0.0, E(1.0)], [0.0, 0.0]])
    assert result.clipped.tolist() == [[True, False], [True, True]]


def test_where_nothing_is_to_be_gained_no_clip_takes_anything():
    result, _ = run("clip", inputs([[2.0, -2.0]], [0.0], dual_clip=3.0))
    assert not result.clipped.any() and not result.loss.any()


def test_reinforce_by_hand():
    result, gradient = run("reinforce", inputs([[0.5, -0.5]], [2.0]))
    close(result.loss, [[-2.0 * -0.5, -2.0 * -1.5]])
    close(gradient, [[-2.0, -2.0]])
    assert not result.clipped.any()


def test_gspo_by_hand():
    # Row 0: the mean log ratio over its two masked tokens is 0.05, the third token is not counted.
    mask = torch.tensor([[True, True, False], [True, True, True]])
    given = inputs([[0.3, -0.2, 9.0], [0.6, 0.6, 0.0]], [1.0, 1.0], loss_mask=mask)
    result, gradient = run("gspo", given)
    close(result.loss[mask], [-E(0.05)] * 2 + [-1.2] * 3)
    close(gradient[mask], [-E(0.05)] * 2 + [0.0] * 3)
    assert result.clipped[mask].tolist() == [False, False, True, True, True]


def test_gspo_gradient_is_that_of_the_sequence_ratio():
    given = inputs([[0.03, -0.02, 0.01]], [1.5])
    _, gradient = run("gspo", given)
    direct = -1.5 * (given.logprobs - given.old_logprobs).mean().exp()  # the paper's sequence form, unclipped
    (expected,) = torch.autograd.grad(direct, given.logprobs)
    torch.testing.assert_close(gradient / 3, expected, rtol=1e-12, atol=0)


def test_cispo_by_hand():
    given = inputs([[1.0, 0.0, -2.0]], [2.0], clip_param=0.5, clip_param_high=1.0)
    result, gradient = run("cispo", given)
    weights = [2.0, 1.0, 0.5]  # e clamped to 2, 1, e^-2 = 0.135 clamped to 0.5
    close(result.loss, [[-2 * w * lp for w, lp in zip(weights, [0.0, -1.0, -3.0], strict=True)]])
    close(gradient, [[-2 * w for w in weights]])
    assert result.clipped.tolist() == [[True, False, True]]


@pytest.mark.parametrize("name", sorted(SURROGATES))
def test_c18_on_policy_gradient_is_reinforces(name):
    given = inputs([[0.0] * 4] * 2, [1.7, -0.4])
    result, gradient = run(name, given)
    close(gradient, [[-1.7] * 4, [0.4] * 4])
    assert not result.clipped.any()


@pytest.mark.parametrize("name", sorted(SURROGATES))
def test_c19_only_logprobs_carry_gradient(name):
    leaves = [torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)]
    advantages = torch.ones(2, requires_grad=True)
    mask = torch.ones(2, 3, dtype=torch.bool)
    given = SurrogateInputs(logprobs=leaves[0], old_logprobs=leaves[1], advantages=advantages, loss_mask=mask)
    SURROGATES.lookup(name)(given).loss.sum().backward()
    assert leaves[0].grad is not None and leaves[1].grad is None and advantages.grad is None


@pytest.mark.parametrize("name", sorted(SURROGATES))
@pytest.mark.parametrize("log_ratio", [1000.0, -1000.0])
def test_c19_exponents_are_clamped(name, log_ratio):
    result, gradient = run(name, inputs([[log_ratio]], [-1.0]))
    assert torch.isfinite(result.loss).all() and torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", sorted(SURROGATES))
def test_an_advantage_for_each_token(name):
    log_ratio = [[0.1, 0.5, -0.5], [-0.1, 0.3, 0.2]]
    whole, whole_gradient = run(name, inputs(log_ratio, [2.0, -2.0]))
    same, same_gradient = run(name, inputs(log_ratio, [[2.0] * 3, [-2.0] * 3]))
    assert torch.equal(whole.loss, same.loss) and torch.equal(whole_gradient, same_gradient)
    mixed, mixed_gradient = run(name, inputs(log_ratio, [[2.0, -2.0, 2.0], [-2.0, -2.0, 2.0]]))
    flipped = torch.tensor([[False, True, False], [False, False, True]])
    assert torch.equal(mixed.loss[~flipped], whole.loss[~flipped])
    assert torch.equal(mixed_gradient[~flipped], whole_gradient[~flipped])
    assert (mixed.loss[flipped].sign() == -whole.loss[flipped].sign()).all()


def test_users_own_surrogate_is_a_few_lines():
    @register_surrogate("soft")
    def soft(given: SurrogateInputs) -> TokenLoss:
        gate = 4 * torch.sigmoid(given.log_ratio.clamp(-20, 20).exp() - 1)
        return TokenLoss(loss=-gate * given.advantages, clipped=torch.zeros_like(given.loss_mask))

    try:
        result, gradient = run("soft", inputs([[0.0]], [3.0]))
        close(result.loss, [[-6.0]])
        close(gradient, [[-3.0]])
    finally:
        del SURROGATES["soft"]


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'clp'\. Did you mean 'clip'\?.*cispo, clip, gspo, reinforce"):
        SURROGATES.lookup("clp")


def test_wrong_shapes_are_refused():
    with pytest.raises(AssertionError):
        inputs([[0.0, 0.0]], [1.0, 1.0])
