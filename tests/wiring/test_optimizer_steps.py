"""Every optimizer step of an update: which sequences, against which old log-probabilities, with what gradient."""

import pytest

from tests.wiring.scripts import GRADED


def test_minibatches_in_one_epoch(start):
    run = start({"minibatch_size": 8}, script=GRADED)
    step = run.step()
    run.follow(step, num_minibatches=2)
    assert step.learner["ratio_max"] > 1.05  # of the second: the first one's is 1


@pytest.mark.slow
def test_each_epoch_deals_the_groups_anew(start):
    run = start({"group_size": 3, "minibatch_size": 6, "num_epochs": 2}, script=GRADED)
    deals = [run.follow(run.step(), num_minibatches=2, num_epochs=2) for _ in range(2)]
    partitions = [[{frozenset(minibatch) for minibatch in epoch} for epoch in deal] for deal in deals]
    # Of three partitions into pairs, both epochs of both steps draw the same once in nine: then another seed will do.
    assert any(first != second for first, second in partitions)


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
