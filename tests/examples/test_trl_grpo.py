import gymnasium as gym
import pytest

import gsm8k_env  # noqa: F401  (registers GSM8K-v0)

DATASET = "builtin:1:16"


@pytest.fixture(scope="module")
def example(load_example):
    return load_example("trl_grpo")


def test_short_enough_to_read(count_lines):
    assert count_lines("trl_grpo") < 90


def test_prompts_are_the_environments(example):
    rows = example.prompts(DATASET, "train")
    assert len(rows) == 16
    env = gym.make("GSM8K-v0", dataset=DATASET)
    observation, info = env.reset(options={"index": 5})
    assert rows[5] == {"prompt": [{"role": "user", "content": observation}], "ground_truth": info["ground_truth"]}


def test_rewards_are_the_graders(example):
    answers = [[{"role": "assistant", "content": text}] for text in ("3 * 6 = 18. #### 18", "#### 17", "no idea")]
    assert example.correct(completions=answers, ground_truth=["18"] * 3, prompts=[None] * 3) == [1.0, 0.0, 0.0]


@pytest.mark.slow
def test_trains(run_example):
    sizes = ("--steps", 2, "--batch-size", 4, "--group-size", 2, "--max-tokens", 8)
    last = run_example("trl_grpo", "--dataset", DATASET, *sizes).splitlines()[-1]
    name, rewards = last.split(":")
    assert name == "reward of each step"
    assert [0.0 <= float(reward) <= 1.0 for reward in rewards.split()] == [True, True]
