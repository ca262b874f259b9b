"""Every optimizer step of an update: which sequences, against which old log-probabilities, with what gradient."""

import pytest

from tests.wiring.scripts import GRADED


def test_minibatches_in_one_epoch(start):
    run = start({"minibatch_size": 8}, script=GRADED)
    step = run.step()
    run.follow(step, num_minibatches=2)
    assert step.learner["ratio_max"] > 1.05  # of the second: the first one's is 1


def test_minibatches_in_two_epochs(start):
    run = start({"minibatch_size": 8, "num_epochs": 2}, script=GRADED)
    run.follow(run.step(), num_minibatches=2, num_epochs=2)


def test_each_epoch_deals_anew(start):
    run = start({"num_prompts": 2, "minibatch_size": 4, "num_epochs": 3}, script=GRADED, env={"num_problems": 2})
    plans = [run.follow(run.step(), num_minibatches=2, num_epochs=3) for _ in range(4)]
    # Two ways to deal: by chance all epochs of all steps agree once in 4^4.
    assert any(len(set(plan)) > 1 for plan in plans)


def test_gradient_clipping(start):
    run = start({"grad_clip": 0.5, "num_epochs": 2}, script=GRADED)
    steps = [run.step()]
    assert steps[0].learner["grad_norm"] > 1.5  # as it was before
    run.follow(steps[0], num_epochs=2)
    assert run.matters("grad_clip", steps, num_epochs=2)  # the default, 1.0, clips less


@pytest.mark.parametrize(
    "setting", [{"adam_betas": (0.5, 0.8)}, {"adam_epsilon": 0.1}, {"weight_decay": 0.3}, {"lr": 0.005}]
)
def test_the_optimizer_goes_on_from_step_to_step(start, setting):
    run = start({"num_epochs": 2} | setting, script=GRADED)
    steps = [run.step(), run.step()]
    for step in steps:
        run.follow(step, num_epochs=2)
    for name in setting:
        assert run.matters(name, steps, num_epochs=2)
