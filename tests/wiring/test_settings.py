"""What is set in `training(...)` is what the loss does, setting by setting."""

import pytest

from tests.wiring.scripts import CUT, GRADED, TALKS


@pytest.mark.parametrize(
    ("setting", "others"),
    [
        ({"clip_param": 0.05}, {}),
        ({"clip_param_high": 0.6}, {}),
        ({"dual_clip": 1.1}, {"ratio_reference": "rollout", "importance_cap": None}),
        ({"ratio_reference": "rollout"}, {"importance_cap": None}),
        ({"importance_cap": 1.2}, {}),
        ({"importance_cap": None}, {}),
        ({"aggregation": "sequence-mean"}, {}),
        ({"aggregation": "constant-length"}, {}),
        ({"entropy_coeff": 0.2}, {}),
        ({"kl_coeff": 0.5}, {"temperature": 0.7}),
        ({"temperature": 0.7}, {}),
    ],
    ids=str,
)
def test_a_setting_reaches_the_loss(start, setting, others):
    # Enough noise for importance weights beyond the default cap.
    run = start({"num_epochs": 2} | setting | others, script=GRADED, noise=1.0)
    step = run.step()
    run.follow(step, num_epochs=2)
    for name in setting:
        assert run.matters(name, [step], num_epochs=2)
    assert ("ref_kl" in step.learner) == ("kl_coeff" in setting)


def test_truncated_completions_leave_the_loss_and_its_denominators(start):
    run = start({"mask_truncated": True, "num_epochs": 2}, script=CUT)
    step = run.step()
    run.follow(step, num_epochs=2)
    assert run.matters("mask_truncated", [step], num_epochs=2)
    assert step.rollouts["truncated_share"] == 5 / 16


@pytest.mark.parametrize("overlong_buffer", [12, 0.5])
def test_overlong_completions_lose_reward(start, overlong_buffer):
    training = {"max_tokens": 24, "overlong_penalty": 0.4, "num_epochs": 2}
    run = start(training | {"overlong_buffer": overlong_buffer}, script=GRADED)
    run.reference.settings.overlong_buffer = 12
    step = run.step()
    run.follow(step, num_epochs=2)
    assert max(sum(episode.own) for episode in step.episodes) > 12 + 4
    # The reported reward is the environment's.
    assert step.rollouts["reward_mean"] == pytest.approx(7.75 / 16)


def test_the_punishment_of_length_and_its_weight(start):
    run = start({"max_tokens": 24, "overlong_buffer": 12, "overlong_penalty": 0.4}, script=GRADED)
    step = run.step()
    run.follow(step)
    assert run.matters("overlong_buffer", [step])
    assert run.matters("overlong_penalty", [step])


def test_each_turn_has_a_length_of_its_own(start):
    run = start({"max_tokens": 16, "overlong_buffer": 6, "overlong_penalty": 0.4}, script=TALKS)
    step = run.step()
    run.follow(step)
    assert run.matters("overlong_buffer", [step])
    # Counted together, or with the user's words, the turns of some dialogues would be overlong that are not.
    assert any(max(e.lengths) <= 10 < sum(e.own) for e in step.episodes)


def test_the_constant_length_is_that_of_a_turn(start):
    run = start({"aggregation": "constant-length"}, script=TALKS)
    step = run.step()
    run.follow(step)
    assert run.matters("aggregation", [step])


def test_every_turn_is_trained_on_and_no_word_of_the_users(start):
    run = start({"num_epochs": 2, "kl_coeff": 0.1, "entropy_coeff": 0.05}, script=TALKS)
    step = run.step()
    run.follow(step, num_epochs=2)
    assert sorted({len(episode.answers) for episode in step.episodes}) == [1, 2, 3]


def test_the_reference_of_the_kl_stands_still(start):
    run = start({"kl_coeff": 0.3, "temperature": 0.7}, script=GRADED)
    first, second = run.step(), run.step()
    for step in (first, second):
        run.follow(step)
    # At its own temperature: the policy of the first step is the reference.
    assert first.learner["ref_kl"] == pytest.approx(0, abs=1e-6)
    assert second.learner["ref_kl"] > 1e-3
