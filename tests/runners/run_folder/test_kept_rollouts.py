"""rollouts.jsonl: what is kept of a step, and how many steps."""

import itertools
import math

import numpy as np
import pytest

from runners.run_folder.folder import RunFolder
from runners.run_folder.kept_rollouts import (
    MOST_GROUPS,
    MOST_MEMBERS,
    MOST_STEPS,
    MOST_TOKENS,
    TokenTexts,
    kept_rows,
    thinned,
)
from runners.run_folder.reading import read_rows
from tests.runners.reporting.made_runs import ADVANTAGES, ROLLOUTS, Texts, rollout


def test_a_row_is_the_rollout():
    row = kept_rows(7, ROLLOUTS, ADVANTAGES, Texts())[0]
    assert row == {
        "step": 7,
        "group_id": 0,
        "member": 0,
        "group_size": 2,
        "group_reward_mean": 0.5,
        "zero_variance": False,
        "prompt": "How many?",
        "completion": "111213",
        "ground_truth": "18",
        "num_steps": 1,
        "reward": 1.0,
        "correct": True,
        "finish_reason": "stop",
        "num_tokens": 3,
        "policy_version": 0,
        "advantage": 0.7071,
        "tokens": ["11 ", "12 ", "13 "],
        "rollout_logprobs": [-0.1, -4.0, -0.2],
    }


def test_differences_are_those_of_the_numbers_before_rounding():
    one = rollout(0, [1, 2, 3], reward=1.0, logprobs=[-0.12345678, -1.0, -1.0], mask=[True, False, True])
    old = [one.rollout_logprobs - np.array([2e-6, 1.0, -0.5])]
    (row,) = kept_rows(1, [one], [1.0], Texts(), old)
    assert row["rollout_logprobs"] == [-0.1235, None, -1.0]
    assert row["rollout_logprob_diff"] == [pytest.approx(2e-6, rel=0.01), None, -0.5]


def test_what_is_no_number_is_none():
    (row,) = kept_rows(1, [rollout(0, [1, 2], reward=1.0, logprobs=[-math.inf, -1.0])], [math.nan], Texts())
    assert (row["advantage"], row["rollout_logprobs"]) == (None, [None, -1.0])


def test_a_group_is_judged_by_all_its_members():
    many = [rollout(5, [1], reward=0.0) for _ in range(MOST_MEMBERS)]
    rows = kept_rows(1, [*many, rollout(5, [1], reward=1.0)], np.zeros(MOST_MEMBERS + 1), Texts())
    assert len(rows) == MOST_MEMBERS
    assert {(row["group_size"], row["zero_variance"]) for row in rows} == {(MOST_MEMBERS + 1, False)}
    assert rows[0]["group_reward_mean"] == 1 / (MOST_MEMBERS + 1)
    missing = kept_rows(1, [rollout(5, [1], reward=math.nan), rollout(5, [1], reward=1.0)], [0, 0], Texts())
    assert [(row["reward"], row["zero_variance"], row["group_reward_mean"]) for row in missing] == [
        (None, False, 1.0), (1.0, False, 1.0),
    ]  # fmt: skip


def test_groups_and_tokens_are_bounded():
    many = [rollout(group, range(MOST_TOKENS + 5), reward=0.0) for group in range(MOST_GROUPS + 2)]
    rows = kept_rows(1, many, np.zeros(len(many)), Texts())
    assert [row["group_id"] for row in rows] == list(range(MOST_GROUPS))
    assert {(len(row["tokens"]), len(row["rollout_logprobs"]), row["num_tokens"]) for row in rows} == {
        (MOST_TOKENS, MOST_TOKENS, MOST_TOKENS + 5)
    }
    chosen = kept_rows(1, many, np.zeros(len(many)), Texts(), groups=[5, 0])
    assert [row["group_id"] for row in chosen] == [0, 5]


def test_steps_are_bounded_and_spread_over_the_run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    for step in range(1, 101):
        folder.log_rollouts([{"step": step}, {"step": step}])
    folder.close()
    kept = [row["step"] for row in read_rows(tmp_path / "run" / "rollouts.jsonl")]
    assert kept[::2] == kept[1::2] and len(kept) == 2 * MOST_STEPS
    steps = kept[::2]
    gaps = [later - earlier for earlier, later in itertools.pairwise(steps)]
    assert (steps[0], steps[-1]) == (1, 100) and max(gaps) <= 12
    assert thinned([{"step": step} for step in steps]) == [{"step": step} for step in steps]


def test_rewind_drops_the_rollouts_that_will_be_sampled_again(tmp_path):
    folder = RunFolder(tmp_path / "run")
    for step in (1, 2, 3):
        folder.log_rollouts([{"step": step}])
    folder.rewind(2)
    folder.close()
    assert [row["step"] for row in read_rows(tmp_path / "run" / "rollouts.jsonl")] == [1, 2]


def test_texts_of_tokens_are_the_completions():
    texts = TokenTexts("tiny", trust_remote_code=False)
    ids = texts._tokenizer("She has 3 apples.\n#### 3", add_special_tokens=False)["input_ids"]
    assert "".join(texts[token] for token in ids) == "She has 3 apples.\n#### 3"
