"""The composed loss: which policy the ratio is against, what is weighted, what adds up."""

import dataclasses
import math
from dataclasses import fields

import numpy as np
import pytest
import torch

from runners.objectives.advantages import group_advantages
from runners.objectives.batching import micro_batches, trim
from runners.objectives.logprobs import completion_logprobs
from runners.objectives.objective import ObjectiveConfig, ObjectiveInputs, policy_loss
from runners.objectives.reductions import AGGREGATIONS, sequence_loss_weights
from runners.objectives.stats import PolicyStats
from runners.objectives.surrogates import SURROGATES, TokenLoss
from runners.support.errors import UserError
from tests.runners.objectives.masks import loss_mask_from_lengths

EVERYTHING = ObjectiveConfig(
    clip_param_high=0.28, dual_clip=3.0, kl_coeff=0.1, entropy_coeff=0.01, importance_cap=1.1, kl_estimator="k3"
)
PLAIN = ObjectiveConfig(importance_cap=None)


def make_inputs(num_rows=8, num_tokens=12, seed=0, spread=0.3, aggregation="token-mean") -> ObjectiveInputs:
    """Random rows of unequal length in two groups; logprobs and entropies are leaves with gradient."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    lengths = rng.integers(2, num_tokens - 2, num_rows)
    mask = loss_mask_from_lengths(np.full(num_rows, 2), lengths, num_tokens)
    estimate = group_advantages(rng.normal(size=num_rows), np.arange(num_rows) % 2)
    weights = sequence_loss_weights(lengths, estimate.valid, aggregation, num_tokens)
    old = -torch.rand(num_rows, num_tokens, generator=generator).double() * 3

    def near() -> torch.Tensor:
        return old + spread * torch.randn(num_rows, num_tokens, generator=generator).double()

    return ObjectiveInputs(
        logprobs=near().requires_grad_(),
        entropies=torch.rand(num_rows, num_tokens, generator=generator).double().requires_grad_(),
        old_logprobs=old,
        rollout_logprobs=near(),
        ref_logprobs=near(),
        advantages=torch.from_numpy(estimate.advantages),
        loss_mask=torch.from_numpy(mask),
        loss_weights=torch.from_numpy(weights),
    )


def rows_of(inputs: ObjectiveInputs, rows) -> ObjectiveInputs:
    return dataclasses.replace(inputs, **{f.name: getattr(inputs, f.name)[rows] for f in fields(inputs)})


def evaluate(inputs: ObjectiveInputs, config: ObjectiveConfig) -> tuple[torch.Tensor, torch.Tensor, PolicyStats]:
    loss, stats = policy_loss(inputs, config)
    (gradient,) = torch.autograd.grad(loss, inputs.logprobs)
    return loss.detach(), gradient, stats


def test_everything_by_hand():
    # One row, one token: log ratio 0.1, weight exp(0.2) capped at 1.1, KL difference d = 0.3.
    one = lambda value: torch.tensor([[0.0, value]], dtype=torch.float64)  # noqa: E731
    inputs = ObjectiveInputs(
        logprobs=one(-1.0).requires_grad_(),
        entropies=one(0.5).requires_grad_(),
        old_logprobs=one(-1.1),
        rollout_logprobs=one(-1.3),
        ref_logprobs=one(-1.3),
        advantages=torch.tensor([2.0]).double(),
        loss_mask=torch.tensor([[False, True]]),
        loss_weights=torch.tensor([0.25]).double(),
    )
    loss, gradient, stats = evaluate(inputs, EVERYTHING)
    k3 = math.exp(-0.3) - 1 + 0.3
    assert loss.item() == pytest.approx(0.25 * (-1.1 * math.exp(0.1) * 2 + 0.1 * k3 - 0.01 * 0.5))
    assert gradient[0, 1].item() == pytest.approx(0.25 * (-1.1 * math.exp(0.1) * 2 + 0.1 * (1 - math.exp(-0.3))))
    assert (stats.num_tokens, stats.clip_frac, stats.entropy) == (1, 0, 0.5)
    assert stats.kl == pytest.approx(k3) and stats.approx_kl == pytest.approx(math.exp(0.1) - 1.1)
    assert stats.ratio_max == pytest.approx(math.exp(0.1)) and stats.importance_weight == pytest.approx(1.1)
    assert stats.importance_capped_frac == 1 and stats.rollout_logprob_diff_mean == pytest.approx(0.2)
    assert stats.rollout_logprob_diff_max == pytest.approx(0.2) and stats.loss == pytest.approx(loss.item())


def test_c1_rollout_reference_uses_the_engines_logprobs_alone():
    inputs = make_inputs()
    loss, gradient, _ = evaluate(inputs, ObjectiveConfig(ratio_reference="rollout", importance_cap=None))
    as_old = dataclasses.replace(inputs, old_logprobs=inputs.rollout_logprobs)
    expected, expected_gradient, _ = evaluate(as_old, PLAIN)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, expected_gradient)


def test_c1_old_reference_weighs_the_clipped_surrogate():
    inputs = make_inputs()
    _, gradient, _ = evaluate(inputs, ObjectiveConfig(importance_cap=1.5))
    _, unweighted, _ = evaluate(inputs, PLAIN)
    weights = (inputs.old_logprobs - inputs.rollout_logprobs).exp().clamp(max=1.5)
    torch.testing.assert_close(gradient, unweighted * weights)
    assert not torch.allclose(gradient, unweighted)


def test_c1_both_at_once_is_refused():
    with pytest.raises(ValueError, match="importance_cap=None"):
        ObjectiveConfig(ratio_reference="rollout")
    without = dataclasses.replace(make_inputs(), rollout_logprobs=None)
    for config in (ObjectiveConfig(), ObjectiveConfig(ratio_reference="rollout", importance_cap=None)):
        with pytest.raises(ValueError, match="engine's logprobs"):
            policy_loss(without, config)
    policy_loss(without, PLAIN)


@pytest.mark.parametrize("surrogate", sorted(SURROGATES))
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("pieces", [[8], [1] * 8, [3, 5], [4, 1, 3]])
def test_c16_parts_add_up_to_the_whole(surrogate, aggregation, pieces):
    config = dataclasses.replace(EVERYTHING, surrogate=surrogate, importance_level="sequence")
    inputs = make_inputs(aggregation=aggregation)
    loss, gradient, stats = evaluate(inputs, config)
    deal = torch.randperm(8).split(pieces)
    parts = [evaluate(rows_of(inputs, rows), config) for rows in deal]
    torch.testing.assert_close(sum(part[0] for part in parts), loss, rtol=1e-6, atol=1e-9)
    for rows, part in zip(deal, parts, strict=True):
        torch.testing.assert_close(part[1], gradient[rows], rtol=1e-6, atol=1e-12)
    summed = sum((part[2] for part in parts), PolicyStats())
    for field in fields(PolicyStats):
        assert getattr(summed, field.name) == pytest.approx(getattr(stats, field.name)), field.name


@pytest.mark.parametrize("surrogate", sorted(SURROGATES))
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("learners", [1, 2, 3])
@pytest.mark.parametrize("max_tokens", [1, 40, 10**6])
def test_c16_parameter_gradient_for_any_split(surrogate, aggregation, learners, max_tokens):
    """From hidden states to the head's gradient, by learners that each take micro-batches of their rows."""
    config = dataclasses.replace(EVERYTHING, surrogate=surrogate)
    inputs = make_inputs(spread=0.05, aggregation=aggregation)
    num_rows, num_tokens = inputs.loss_mask.shape
    torch.manual_seed(1)
    hidden, head = torch.randn(num_rows, num_tokens, 6), torch.nn.Linear(6, 11)
    token_ids = torch.randint(11, (num_rows, num_tokens))
    ends = (inputs.loss_mask * torch.arange(1, num_tokens + 1)).amax(1)
    constants = [f.name for f in fields(inputs) if f.name not in ("logprobs", "entropies")]

    def loss_of(rows) -> torch.Tensor:
        per_token = [n for n in constants if getattr(inputs, n).ndim == 2]
        cut = trim(ends[rows], hidden[rows], token_ids[rows], *(getattr(inputs, n)[rows] for n in per_token))
        states, ids, *rest = cut
        given = dict(zip(per_token, rest, strict=True))
        logprobs, entropies = completion_logprobs(
            states, head, ids, given["loss_mask"], max_logits=60, with_entropy_grad=True
        )
        # Old logprobs near the policy's own, so that some ratios are clipped and some not.
        given["old_logprobs"] = logprobs.detach().double() + 0.3 * torch.sin(7 * given["ref_logprobs"])
        whole = {n: getattr(inputs, n)[rows] for n in constants if n not in per_token}
        return policy_loss(ObjectiveInputs(logprobs=logprobs, entropies=entropies, **given, **whole), config)[0]

    expected_loss = loss_of(torch.arange(num_rows))
    expected = torch.autograd.grad(expected_loss, head.weight)[0]
    head.zero_grad()
    total = 0.0
    for shard in torch.randperm(num_rows).tensor_split(learners):
        for rows in micro_batches(ends[shard].numpy(), max_tokens):
            loss = loss_of(shard[torch.from_numpy(rows)])
            loss.backward()
            total += loss.item()
    assert total == pytest.approx(expected_loss.item(), rel=1e-6, abs=1e-8)
    assert (head.weight.grad - expected).norm() <= 1e-6 * expected.norm()


def test_c16_without_global_weights_parts_do_not_add_up():
    inputs = make_inputs()
    whole = evaluate(inputs, PLAIN)[0]
    halves = 0.0
    for rows in (torch.arange(0, 4), torch.arange(4, 8)):
        part = rows_of(inputs, rows)
        lengths = part.loss_mask.sum(1).numpy()
        local = torch.from_numpy(sequence_loss_weights(lengths, np.ones(4, bool), "token-mean")) / 2
        halves += evaluate(dataclasses.replace(part, loss_weights=local), PLAIN)[0].item()
    assert abs(halves - whole.item()) > 1e-3 * abs(whole.item())


@pytest.mark.parametrize("surrogate", sorted(SURROGATES))
@pytest.mark.parametrize("explicit", [True, False])
def test_c18_first_update_is_reinforce(surrogate, explicit):
    inputs = make_inputs(spread=0.0, aggregation="sequence-mean")
    if not explicit:
        inputs = dataclasses.replace(inputs, old_logprobs=None)
    config = ObjectiveConfig(surrogate=surrogate)
    loss, gradient, stats = evaluate(inputs, config)
    expected = -inputs.advantages[:, None] * inputs.loss_weights[:, None] * inputs.loss_mask
    torch.testing.assert_close(gradient, expected)
    assert stats.clip_frac == 0 and stats.ratio_max == 1 and stats.approx_kl == 0 and stats.importance_weight == 1
    if surrogate in ("clip", "gspo"):
        assert abs(loss.item()) < 1e-9  # the advantages of a group sum to 0, and a sequence's tokens to one each


@pytest.mark.parametrize("surrogate", sorted(SURROGATES))
def test_an_advantage_for_each_token(surrogate):
    config = dataclasses.replace(EVERYTHING, surrogate=surrogate)
    inputs = make_inputs()
    spread = inputs.advantages[:, None].expand_as(inputs.loss_mask)
    loss, gradient, stats = evaluate(inputs, config)
    outside = spread.where(inputs.loss_mask, math.nan)
    same = evaluate(dataclasses.replace(inputs, advantages=outside), config)
    assert torch.equal(loss, same[0]) and torch.equal(gradient, same[1]) and stats == same[2]
    each = dataclasses.replace(inputs, advantages=spread * torch.linspace(0.5, 2, inputs.loss_mask.shape[1]).double())
    parts = [evaluate(rows_of(each, rows), config) for rows in torch.arange(8).split([3, 5])]
    torch.testing.assert_close(sum(part[0] for part in parts), evaluate(each, config)[0], rtol=1e-6, atol=1e-9)


def test_c19_constants_carry_no_gradient():
    inputs = make_inputs()
    leaves = {
        name: getattr(inputs, name).clone().requires_grad_()
        for name in ("old_logprobs", "rollout_logprobs", "ref_logprobs", "advantages")
    }
    policy_loss(dataclasses.replace(inputs, **leaves), EVERYTHING)[0].backward()
    assert inputs.logprobs.grad.any() and inputs.entropies.grad.any()
    assert all(leaf.grad is None for leaf in leaves.values())


@pytest.mark.parametrize("surrogate", sorted(SURROGATES))
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf, 1e30])
def test_c8_c10_what_lies_outside_the_mask_never_enters(surrogate, poison):
    config = dataclasses.replace(EVERYTHING, surrogate=surrogate)
    inputs = make_inputs()
    left_out = torch.arange(8) == 5
    inputs = dataclasses.replace(inputs, loss_weights=inputs.loss_weights.masked_fill(left_out, 0.0))
    loss, gradient, stats = evaluate(inputs, config)
    outside = ~inputs.loss_mask | left_out[:, None]
    names = ("logprobs", "entropies", "old_logprobs", "rollout_logprobs", "ref_logprobs")
    dirty = {name: getattr(inputs, name).detach().masked_fill(outside, poison) for name in names}
    for name in ("logprobs", "entropies"):
        dirty[name].requires_grad_()
    dirty["advantages"] = inputs.advantages.masked_fill(left_out, poison)
    dirty_loss, dirty_gradient, dirty_stats = evaluate(dataclasses.replace(inputs, **dirty), config)
    assert torch.equal(loss, dirty_loss) and torch.equal(gradient, dirty_gradient) and stats == dirty_stats
    assert stats.num_tokens == (~outside).sum().item()


def test_c15_all_rows_left_out_gives_a_differentiable_zero():
    inputs = make_inputs()
    loss, gradient, stats = evaluate(dataclasses.replace(inputs, loss_weights=torch.zeros(8)), EVERYTHING)
    assert loss.item() == 0 and not gradient.any() and stats == PolicyStats()


def test_c20_kl_goes_where_it_is_placed():
    inputs = make_inputs()
    in_reward = ObjectiveConfig(importance_cap=None, kl_coeff=0.5, kl_placement="reward", kl_estimator="k2")
    _, gradient, stats = evaluate(inputs, in_reward)
    torch.testing.assert_close(gradient, evaluate(inputs, PLAIN)[1])
    assert stats.kl > 0
    in_loss = dataclasses.replace(in_reward, kl_placement="loss")
    extra = 0.5 * (inputs.logprobs - inputs.ref_logprobs) * inputs.loss_weights[:, None] * inputs.loss_mask
    torch.testing.assert_close(evaluate(inputs, in_loss)[1] - gradient, extra.detach())
    without = dataclasses.replace(inputs, ref_logprobs=None)
    assert torch.equal(evaluate(without, PLAIN)[1], gradient) and evaluate(without, PLAIN)[2].kl == 0
    with pytest.raises(ValueError, match="set kl_coeff=0"):
        policy_loss(without, in_loss)


def test_c22_difference_to_the_engine_is_measured_whichever_the_reference():
    inputs = make_inputs()
    gap = (inputs.old_logprobs - inputs.rollout_logprobs).abs()[inputs.loss_mask]
    for config in (PLAIN, EVERYTHING, ObjectiveConfig(ratio_reference="rollout", importance_cap=None)):
        stats = policy_loss(inputs, config)[1]
        assert stats.rollout_logprob_diff_mean == pytest.approx(gap.mean().item())
        assert stats.rollout_logprob_diff_max == pytest.approx(gap.max().item())
        assert stats.rollout_logprob_diff_exp_mean == pytest.approx(gap.exp().mean().item())


def test_clip_frac_counts_tokens_without_gradient():
    inputs = make_inputs(spread=0.5)
    _, gradient, stats = evaluate(inputs, PLAIN)
    dead = (gradient[inputs.loss_mask] == 0).sum().item()
    assert 0 < dead == stats.clip_sum


def test_entropy_bonus_without_entropy_gradient_is_refused():
    inputs = make_inputs()
    with pytest.raises(AssertionError, match="entropies have no gradient"):
        policy_loss(dataclasses.replace(inputs, entropies=inputs.entropies.detach()), EVERYTHING)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("surrogate", "clipp"),
        ("clip_param", 0.0),
        ("clip_param_high", -0.1),
        ("dual_clip", 1.0),
        ("kl_coeff", -1.0),
        ("kl_estimator", "k4"),
        ("kl_placement", "elsewhere"),
        ("entropy_coeff", math.nan),
        ("ratio_reference", "engine"),
        ("importance_cap", 0.0),
        ("importance_level", "group"),
    ],
)
def test_bad_options_name_the_value(name, value):
    with pytest.raises(ValueError, match=f"{value}"):
        ObjectiveConfig(**{name: value})


def bare_tensor(inputs):
    return inputs.logprobs


def one_a_sequence(inputs):
    loss = inputs.logprobs.sum(1)
    return TokenLoss(loss=loss, clipped=loss > 0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bare_tensor", "returned a Tensor; it must return a TokenLoss"),
        ("one_a_sequence", r"loss of shape \(8,\) .* must be \[B, T\] = \(8, 12\)"),
    ],
)
def test_what_is_wrong_with_a_users_own_surrogate_is_said(name, message):
    config = ObjectiveConfig(surrogate=f"{__name__}:{name}")
    with pytest.raises(UserError, match=message):
        policy_loss(make_inputs(), config)


def test_a_published_algorithm_decides_on_every_part_of_the_loss():
    assert all(field.metadata["published"] for field in fields(ObjectiveConfig))
