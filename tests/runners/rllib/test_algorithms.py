"""Each named algorithm's loss and gradient against numbers worked by hand, from rewards to `policy_loss`.

Two groups of two completions, the prompt one token, max_tokens 3. log 2 is L, every old logprob is -1, and the engine
agrees with the learner. rho is the ratio current / old, so a current logprob is -1 + log rho.

    row  group  reward  rho of its tokens  sum of current logprobs
    a    0      1       8, 1               -2 + 3 L
    b    0      0       1/2, 2, 1          -3
    c    1      1       1, 1, 1            -3
    d    1      1       1, 1               -2

The reference's logprobs equal the old ones, save that it gives d's first token half the probability: the KL of d under
the old policy (k1) is L, that of all others 0. k3 under the current policy, with its derivative: 1/8 - 1 + 3 L and 7/8
for rho 8, 1 - L and -1 for 1/2, L - 1/2 and 1/2 for 2; L - 1/2 and 1/2 for d's first token.
"""

from math import log, sqrt
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from runners.objectives.algorithms import ALGORITHMS, AlgorithmSpec
from runners.objectives.gae import Moments, generalized_advantages, token_rewards, whiten
from runners.objectives.kl import kl_in_reward
from runners.objectives.objective import ObjectiveConfig, ObjectiveInputs, policy_loss
from runners.published import algorithm_settings
from runners.rllib.grpo import GRPO, GRPOConfig
from runners.sampling.rollout import Rollout
from runners.settings import AdvantageSettings
from runners.updating.batch import BatchPlan, build_train_batch

L = log(2)
RATIOS = [[8, 1], [1 / 2, 2, 1], [1, 1, 1], [1, 1]]
REWARDS, GROUPS = [1.0, 0.0, 1.0, 1.0], [0, 0, 1, 1]

# The advantage of a pair with rewards 1 and 0: deviation 1/2, standard deviation sqrt(1/2).
G = 0.5 / (sqrt(0.5) + 1e-4)
# Of a pair with rewards 1 and -1: deviation 1, standard deviation sqrt(2).
H = 1 / (sqrt(2) + 1e-4)
# rloo's and reinforce++'s penalty of d.
E, F = 0.05 * L, 0.001 * L
# reinforce++: rewards 1, 0, 1, 1 - F over the batch; advantages AA of a and c, -BB of b, DD of d.
MEAN = (3 - F) / 4
STD = sqrt((2 * (1 - MEAN) ** 2 + MEAN**2 + (1 - F - MEAN) ** 2) / 3) + 1e-4
AA, BB, DD = (1 - MEAN) / STD, MEAN / STD, (1 - F - MEAN) / STD
# ppo's advantages over the tokens.
P, Q = 0.3 / sqrt(0.21), 0.7 / sqrt(0.21)

# In the clipped surrogate a's first token stands at the upper end and b's first at the lower, both without gradient.
# name: (loss, gradient of a, b, c, d)
EXPECTED = {
    # Advantages G, -G, 0, 0; a token of two counts 1/8, of three 1/12.
    "grpo": (
        (-2.2 * G + 0.04 * (3 * L - 7 / 8)) / 8 + (3.8 * G + 0.04 / 2) / 12 + 0.04 * (L - 1 / 2) / 8,
        [[0.04 * 7 / 64, -G / 8], [-0.04 / 12, (2 * G + 0.02) / 12, G / 12], [0, 0, 0], [0.04 / 16, 0]],
    ),
    # Advantages 1/2, -1/2, 0, 0; every token counts 1/12.
    "dr_grpo": (0.5 * (-2.2 + 3.8) / 12, [[0, -1 / 24], [0, 1 / 12, 1 / 24], [0, 0, 0], [0, 0]]),
    # The buffer is one token, so b and c lose 1: advantages H, -H, -G, G; every token counts 1/10.
    "dapo": (
        (-2.28 * H + 3.8 * H + 3 * G - 2 * G) / 10,
        [[0, -H / 10], [0, H / 5, H / 10], [G / 10, G / 10, G / 10], [-G / 10, -G / 10]],
    ),
    # Advantages 1, -1, E, -E.
    "rloo": (
        (2 - 3 * L - 3 + 3 * E - 2 * E) / 12,
        [[-1 / 12, -1 / 12], [1 / 12, 1 / 12, 1 / 12], [-E / 12, -E / 12, -E / 12], [E / 12, E / 12]],
    ),
    # Advantages 1, 0, 1, 1.
    "reinforce": (
        (2 - 3 * L + 3 + 2) / 12,
        [[-1 / 12, -1 / 12], [0, 0, 0], [-1 / 12, -1 / 12, -1 / 12], [-1 / 12, -1 / 12]],
    ),
    # Advantages 1/4, -3/4, 1/4, 1/4.
    "reinforce_batch": (
        (0.5 - 0.75 * L - 2.25 + 0.75 + 0.5) / 12,
        [[-1 / 48, -1 / 48], [1 / 16, 1 / 16, 1 / 16], [-1 / 48, -1 / 48, -1 / 48], [-1 / 48, -1 / 48]],
    ),
    "reinforce++": (
        (-2.2 * AA + 3.8 * BB - 3 * AA - 2 * DD) / 10,
        [[0, -AA / 10], [0, BB / 5, BB / 10], [-AA / 10, -AA / 10, -AA / 10], [-DD / 10, -DD / 10]],
    ),
    # Ratios of the sequences: a sqrt(8), clipped to 1.0004; b 1, which no clip touches.
    "gspo": (2 * -1.0004 * G / 8 + 3 * G / 12, [[0, 0], [G / 12, G / 12, G / 12], [0, 0, 0], [0, 0]]),
    # a's first weight is cut from 8 to 5; b's stay 1/2, 2, 1.
    "cispo": (
        (G * (5 * (1 - 3 * L) + 1) + G * ((-1 - L) / 2 + 2 * (-1 + L) - 1)) / 10,
        [[-G / 2, -G / 10], [G / 20, G / 5, G / 10], [0, 0, 0], [0, 0]],
    ),
    # One of two groups has spread, so alpha is 2: advantages 1, -1, 0, 0.
    "gpg": ((2 - 3 * L - 3) / 10, [[-1 / 10, -1 / 10], [1 / 10, 1 / 10, 1 / 10], [0, 0, 0], [0, 0]]),
    # With every value 0, as the head starts, a token's advantage is its row's reward: 1 for 7 of 10 tokens, mean 0.7,
    # deviation sqrt(0.21). Whitened P for a, c, d and -Q for b.
    "ppo": (
        (-2.2 * P + 3.8 * Q - 3 * P - 2 * P) / 10,
        [[0, -P / 10], [0, Q / 5, Q / 10], [-P / 10, -P / 10, -P / 10], [-P / 10, -P / 10]],
    ),
}


def rollouts() -> list[Rollout]:
    return [
        Rollout(
            group_id=group,
            observation="",
            text="",
            prompt_token_ids=(5,),
            completion_token_ids=tuple(range(6, 6 + len(ratios))),
            completion_mask=np.ones(len(ratios), np.bool_),
            turn_lengths=(len(ratios),),
            rollout_logprobs=np.full(len(ratios), -1, np.float32),
            reward=reward,
            correct=None,
            finish_reason="stop",
            policy_version=0,
        )
        for group, ratios, reward in zip(GROUPS, RATIOS, REWARDS, strict=True)
    ]


def padded(rows: list[list[float]]) -> torch.Tensor:
    """Returns the completions' values after the prompt's position, 0 elsewhere."""
    return torch.tensor([[0.0, *row, *[0.0] * (3 - len(row))] for row in rows], dtype=torch.float64)


OLD = padded([[-1.0] * len(row) for row in RATIOS])
REFERENCE = OLD.clone()
REFERENCE[3, 1] -= L


class Updater:
    """Answers the driver's one question about rewards from REFERENCE."""

    def __init__(self, config: GRPOConfig) -> None:
        self.config = config

    def rewards_less_kl(self, batch) -> np.ndarray:
        return kl_in_reward(
            torch.from_numpy(batch["rewards"]),
            torch.from_numpy(batch["rollout_logprobs"]),
            REFERENCE,
            torch.from_numpy(batch["loss_mask"]),
            kl_coeff=self.config.kl_coeff,
            kind=self.config.kl_estimator,
        ).numpy()


def of_tokens(rewards: torch.Tensor, mask: torch.Tensor, config: GRPOConfig) -> torch.Tensor:
    """Returns what a critic that says 0 everywhere makes of the rows' rewards: [B, T], whitened."""
    estimate = generalized_advantages(
        torch.zeros_like(OLD), token_rewards(rewards, mask), mask, gamma=config.gamma, lambda_=config.lambda_
    )
    return whiten(estimate.advantages, mask, Moments.of(estimate.advantages, mask))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_loss_and_gradient_are_those_worked_by_hand(name):
    config = GRPOConfig().training(algorithm=name, max_tokens=3, num_prompts=2, group_size=2)
    driver = SimpleNamespace(config=config, updaters=SimpleNamespace(ask=lambda call: call(Updater(config))))
    advantages = GRPO._advantages(driver, rollouts())
    columns = build_train_batch(rollouts(), advantages, config.batch_plan(), np.random.default_rng(0))
    assert columns["lengths"].tolist() == [3, 4, 4, 3]  # one minibatch: the rows stay in order
    logprobs = (OLD + padded([[log(ratio) for ratio in row] for row in RATIOS])).requires_grad_()
    mask, row_advantages = torch.from_numpy(columns["loss_mask"]), torch.from_numpy(columns["advantages"]).double()
    inputs = ObjectiveInputs(
        logprobs=logprobs,
        entropies=torch.zeros_like(logprobs),
        old_logprobs=OLD,
        rollout_logprobs=torch.from_numpy(columns["rollout_logprobs"]).double(),
        ref_logprobs=REFERENCE,
        advantages=of_tokens(row_advantages, mask, config) if config.advantage == "gae" else row_advantages,
        loss_mask=mask,
        loss_weights=torch.from_numpy(columns["loss_weights_0"]).double(),
    )
    loss, _ = policy_loss(inputs, config.noun(ObjectiveConfig))
    loss.backward()
    expected_loss, expected_gradient = EXPECTED[name]
    assert loss.item() == pytest.approx(expected_loss, rel=1e-6, abs=1e-7)
    torch.testing.assert_close(logprobs.grad, padded(expected_gradient), rtol=1e-6, atol=1e-8)


def test_a_name_decides_on_every_setting_of_the_objective():
    """So that nothing is left over from a preset or an earlier call."""
    elsewhere = {"num_epochs", "minibatch_size", "max_tokens", "num_learners"}
    owned = set(ObjectiveConfig.__slots__) | (set(BatchPlan.__slots__) - elsewhere) | {"advantage"}
    assert all(owned <= algorithm_settings(name).keys() for name in ALGORITHMS)
    assert len({frozenset(algorithm_settings(name)) for name in ALGORITHMS}) == 1
    left_over = GRPOConfig().training(entropy_coeff=0.5, dual_clip=3.0, kl_coeff=1.0, overlong_buffer=8)
    config = left_over.training(algorithm="dr_grpo")
    assert (config.entropy_coeff, config.dual_clip, config.kl_coeff, config.overlong_buffer) == (0, None, 0, 0)


def test_explicit_settings_of_the_same_call_win():
    config = GRPOConfig().training(algorithm="dapo", lr=3e-5, clip_param_high=0.4, num_prompts=8)
    assert (config.algorithm, config.lr, config.num_prompts) == ("dapo", 3e-5, 8)
    assert (config.clip_param_high, config.clip_param, config.dynamic_sampling) == (0.4, 0.2, True)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"'dappo'\. Did you mean 'dapo'\? Known: cispo, dapo, dr_grpo, gpg"):
        GRPOConfig().training(algorithm="dappo")


MINE = AlgorithmSpec(paper="", formula="", expect="", settings={"advantage": "rloo", "kl_coeff": 0.5})


def test_an_algorithm_of_ones_own_by_its_place():
    config = GRPOConfig().training(dual_clip=3.0).training(algorithm=f"{__name__}:MINE")
    assert (config.advantage, config.kl_coeff, config.dual_clip) == ("rloo", 0.5, None)
    with pytest.raises(ValueError, match="is a float; it must be a AlgorithmSpec"):
        GRPOConfig().training(algorithm=f"{__name__}:L")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_group_of_one_is_the_estimators_business(name):
    config = GRPOConfig().environment("Any-v0").training(algorithm=name, group_size=1)
    if name.startswith("reinforce") or name == "ppo":
        config.validate()
    else:
        with pytest.raises(ValueError, match=r"a group of one has no baseline|one reward has no spread"):
            config.validate()


@pytest.mark.parametrize(
    ("settings", "tokens"),
    [({}, 0), ({"overlong_buffer": 16}, 16), ({"overlong_buffer": 0.2}, 20), ({"overlong_buffer": 1e-3}, 1)],
)
def test_the_overlong_buffer_is_tokens_or_a_share(settings, tokens):
    assert AdvantageSettings(**settings).overlong_buffer_tokens(100) == tokens
