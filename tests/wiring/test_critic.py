"""PPO: what the critic's settings do over two steps, of which the first finds a critic that knows nothing."""

import pytest

from tests.wiring.scripts import CUT, GRADED, MISSING, TALKS

PPO = {
    "advantage": "gae",
    "num_epochs": 2,
    "gamma": 0.9,
    "lambda_": 0.8,
    "vf_loss_coeff": 0.3,
    "vf_lr": 0.05,
}


def follow_two(run):
    steps = [run.step() for _ in range(2)]
    for step in steps:
        run.follow(step, num_epochs=2)
    return steps


@pytest.mark.parametrize("setting", [{}, {"vf_clip_param": 0.2}, {"whiten_advantages": False}], ids=str)
def test_the_critics_settings(start, setting):
    run = start(PPO | setting, script=GRADED)
    steps = follow_two(run)
    assert steps[1].learner["vf_loss"] > 0
    for name in setting or ("gamma", "lambda_", "vf_loss_coeff", "vf_lr"):
        assert run.matters(name, steps, num_epochs=2), name


@pytest.mark.parametrize("script", [CUT, MISSING], ids=["cut", "missing"])
def test_rows_that_are_left_out_are_left_out_of_whitening_too(start, script):
    run = start(PPO | {"mask_truncated": True}, script=script)
    follow_two(run)


def test_values_of_several_turns(start):
    follow_two(start(PPO, script=TALKS))
