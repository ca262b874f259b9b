"""What RLlib's users expect of an algorithm: schedules and the names of results."""

import itertools
import math

import numpy as np
import pytest

from runners.rllib.grpo import GRPO
from runners.run_options import build_config, parse_args, run_settings
from tests.runners.rllib.conftest import small_config, updater_of

EPISODES = 16  # of one turn each, in a step of `small_config`


def weights_of(algo):
    (weights,) = algo.get_weights().values()
    return weights


def same(first, second):
    return all(np.array_equal(first[name], second[name]) for name in first)


def learner_results(algo):
    return algo.train()["learners"]["default_policy"]


class TestSchedules:
    def test_an_update_takes_the_lr_of_the_steps_sampled_before_it(self, build):
        # Warm-up to the second update, which is half as large as the third would be, and nothing from there on.
        schedule = [[0, 0.0], [EPISODES, 1e-4], [2 * EPISODES, 0.0]]
        algo = build(small_config(lr=schedule))
        states = [weights_of(algo)]
        rates = []
        for _ in range(3):
            rates.append(updater_of(algo)._optimizers[0].param_groups[0]["lr"])
            algo.train()
            states.append(weights_of(algo))
        assert rates == [0.0, 1e-4, 0.0] and {type(rate) for rate in rates} == {float}
        moved = [not same(before, after) for before, after in itertools.pairwise(states)]
        assert moved == [False, True, False]

    def test_lr_and_entropy_coeff_move_and_resume_exactly(self, build, tmp_path):
        end = 4 * EPISODES
        config = small_config(lr=[[0, 1e-4], [end, 0.0]], entropy_coeff=[[0, 0.5], [end, 0.1]])
        straight = build(config.copy())
        rows = [learner_results(straight) for _ in range(3)]
        np.testing.assert_allclose([row["default_optimizer_learning_rate"] for row in rows], [7.5e-5, 5e-5, 2.5e-5])
        np.testing.assert_allclose([row["curr_entropy_coeff"] for row in rows], [0.4, 0.3, 0.2])
        first = build(config.copy())
        learner_results(first)
        first.save_to_path(tmp_path / "checkpoint")
        second = GRPO.from_checkpoint(tmp_path / "checkpoint")
        assert updater_of(second).entropy_coeff == 0.4
        assert [learner_results(second) for _ in range(2)] == rows[1:]
        assert same(weights_of(second), weights_of(straight))
        second.stop()

    def test_the_entropy_bonus_is_the_schedules(self, build):
        # The first update has the schedule's first value, the second its last.
        def losses(entropy_coeff):
            algo = build(small_config(lr=0.0, entropy_coeff=entropy_coeff))
            return [learner_results(algo)["loss"] for _ in range(2)]

        high, low, moving = losses(0.5), losses(0.0), losses([[0, 0.5], [EPISODES, 0.0]])
        assert high[0] != low[0] and high[1] != low[1]
        assert moving == [high[0], low[1]]

    def test_the_command_line_takes_them(self):
        settings = run_settings(parse_args(["--set", "lr=[[0, 1e-4], [1000, 0]]", "--set", "entropy_coeff=0.1"]))
        config = build_config(settings)
        config.check()
        assert config.lr == [[0, 1e-4], [1000, 0]]

    @pytest.mark.parametrize("name", ["lr", "entropy_coeff"])
    @pytest.mark.parametrize(
        "schedule",
        [
            [],
            [[0, 1e-4]],
            [[5, 1e-4], [10, 0.0]],
            [[0, 1e-4], [10]],
            [[0, 1e-4], [10, -0.5]],
            [[0, 1e-4], [10, 0.0], [10, 1.0]],
            [[0, "fast"], [10, 0.0]],
            [0, 1e-4],
            "linear",
        ],
        ids=str,
    )
    def test_a_malformed_one_is_refused(self, name, schedule):
        with pytest.raises(ValueError, match=rf"^{name}=.*must be a number >= 0, or a schedule \[\[0, value\]"):
            small_config(**{name: schedule}).validate()


def test_missing_rewards_are_left_out_of_the_returns(build):
    config = small_config("tests.runners.addition_env:Addition-v0", {"reward": "missing"}, max_tokens=8)
    results = build(config).train()["env_runners"]
    assert math.isnan(results["episode_return_max"]) and results["num_episodes"] == EPISODES
