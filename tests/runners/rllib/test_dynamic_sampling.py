"""Dynamic sampling in a whole run."""

import itertools

import pytest

from runners.run_folder.metrics import metrics_row
from tests.runners.rllib.conftest import small_config


@pytest.mark.slow
def test_a_run_with_it_counts_its_budget_and_resumes_exactly(build, tmp_path):
    from runners.rllib.grpo import GRPO

    def row(algo, step):
        row = metrics_row(algo.train(), step)
        return {name: value for name, value in row.items() if not name.endswith("_s")}

    # Without the overlong punishment, which could make a right answer's reward that of a wrong one.
    config = small_config(algorithm="dapo", max_refills=8, overlong_buffer=0)
    straight = build(config.copy())
    rows = [row(straight, number) for number in (1, 2, 3)]
    for earlier, later in itertools.pairwise(rows):
        total = earlier["num_sampled_completion_tokens_lifetime"] + later["num_sampled_completion_tokens"]
        assert later["num_sampled_completion_tokens_lifetime"] == total
    assert any(r["num_refill_rollouts"] > 0 for r in rows)
    for r in rows:
        assert r["zero_variance_share"] == 0 or r["num_refills"] == 8
        assert r["num_refill_rollouts"] % 4 == 0
        assert (r["num_sampled_completion_tokens"] > r["num_completion_tokens"]) == (r["num_refill_rollouts"] > 0)

    first = build(config.copy())
    assert row(first, 1) == rows[0]
    first.save_to_path(tmp_path / "checkpoint")
    second = GRPO.from_checkpoint(tmp_path / "checkpoint")
    assert [row(second, number) for number in (2, 3)] == rows[1:]
    second.stop()
