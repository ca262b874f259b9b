"""The single environment keeps Gymnasium's contract and its own."""

import copy
import json
import os
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.spaces import flatten, flatten_space, unflatten
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.wrappers import FlattenObservation, RecordEpisodeStatistics, TimeLimit, TransformReward

from gsm8k_env.env import GSM8KEnv
from gsm8k_env.problems import load_problems
from gsm8k_env.prompts import INSTRUCTIONS, render_prompt
from gsm8k_env.spaces import MAX_COMPLETION_LENGTH, MAX_PROMPT_LENGTH, UnicodeText


@pytest.fixture
def env() -> GSM8KEnv:
    return GSM8KEnv(dataset="builtin")


def test_an_episode_is_one_step(env: GSM8KEnv) -> None:
    observation, info = env.reset(options={"index": 17})
    problem = load_problems("train", "builtin")[17]
    assert observation == render_prompt(problem.question, "hash")
    assert info == {
        "question": problem.question,
        "ground_truth": problem.ground_truth,
        "index": 17,
        "split": "train",
        "dataset": "builtin",
        "num_steps": problem.num_steps,
    }
    result = env.step(f"so the answer is \\boxed{{{problem.ground_truth}}}")
    assert result[:4] == ("", 1.0, True, False)
    assert result[4] == {"correct": True, "extracted": problem.ground_truth, "method": "boxed"}
    assert [type(value) for value in result[1:4]] == [float, bool, bool]


def test_a_wrong_answer_and_no_answer_score_zero(env: GSM8KEnv) -> None:
    truth = int(env.reset(seed=0)[1]["ground_truth"])
    _, reward, terminated, _, info = env.step(f"#### {truth + 1}")
    assert (reward, terminated, info["correct"], info["extracted"]) == (0.0, True, False, str(truth + 1))
    env.reset()
    assert env.step("")[1:] == (0.0, True, False, {"correct": False, "extracted": None, "method": None})


@pytest.mark.parametrize(("grading", "method"), [("strict", "hash"), ("boxed", "boxed"), ("flexible", "boxed")])
def test_the_grading_option_reaches_the_grader(grading: str, method: str) -> None:
    env = GSM8KEnv(dataset="builtin", grading=grading)
    truth = env.reset(seed=0)[1]["ground_truth"]
    _, reward, _, _, info = env.step(f"#### {truth}\n\\boxed{{{truth}}}")
    assert (reward, info["method"]) == (1.0, method)


def test_equally_seeded_environments_stay_equal() -> None:
    first, second = (gym.make("GSM8K-v0", dataset="builtin") for _ in range(2))
    assert first.reset(seed=42) == second.reset(seed=42)
    first.action_space.seed(1)
    for _ in range(50):
        action = first.action_space.sample()
        assert data_equivalence(first.step(action), second.step(action), exact=True)
        assert first.reset() == second.reset()


def test_seeds_give_different_problems_over_the_whole_split(env: GSM8KEnv) -> None:
    indices = [env.reset(seed=seed)[1]["index"] for seed in range(400)]
    assert len(set(indices)) > 380
    assert min(indices) < 0.05 * env.num_problems
    assert max(indices) > 0.95 * env.num_problems


def test_a_group_is_environments_reset_alike() -> None:
    group = [GSM8KEnv(dataset="builtin") for _ in range(4)]
    assert len({env.reset(seed=9)[0] for env in group}) == 1
    assert len({env.reset(options={"index": 3})[0] for env in group}) == 1


def test_an_index_leaves_the_generator_alone(env: GSM8KEnv) -> None:
    env.reset(seed=7)
    expected = env.reset()
    env.reset(seed=7)
    env.reset(options={"index": 3})
    assert env.reset(options={"index": None}) == expected


@pytest.mark.parametrize("index", [-1, 7473, 10**30, 1.0, True, "3", [1], np.int64(7473)], ids=repr)
def test_a_bad_index_is_refused(env: GSM8KEnv, index: Any) -> None:
    with pytest.raises(ValueError, match=r"from 0 to 7472.*7,473 train problems of builtin"):
        env.reset(options={"index": index})


def test_a_refused_reset_changes_nothing(env: GSM8KEnv) -> None:
    env.reset(seed=7)
    state = env.np_random.bit_generator.state
    with pytest.raises(ValueError):
        env.reset(seed=8, options={"index": -1})
    assert env.np_random.bit_generator.state == state


def test_numpy_indices_are_indices(env: GSM8KEnv) -> None:
    index = env.reset(options={"index": np.int32(5)})[1]["index"]
    assert index == 5
    assert type(index) is int


def test_an_unknown_reset_option_is_refused(env: GSM8KEnv) -> None:
    with pytest.raises(ValueError, match=r"Unknown reset option 'indx'; allowed: 'index'\."):
        env.reset(options={"indx": 3})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tran"}, r"split 'tran'; allowed: 'train', 'test'\."),
        ({"grading": "strikt"}, r"grading 'strikt'; allowed: 'flexible', 'strict', 'boxed'"),
        ({"instruction": "boxd"}, r"'boxd'; allowed: 'hash', 'boxed', 'none'\."),
        ({"dataset": "bultin"}, r"dataset 'bultin'.*'builtin'"),
        ({"instruction": "long text " * 2000}, r"at most 16,384"),
    ],
)
def test_a_bad_make_option_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gym.make("GSM8K-v0", **{"dataset": "builtin", **options})


def test_an_unknown_make_option_is_refused() -> None:
    with pytest.raises(TypeError, match="gradig"):
        gym.make("GSM8K-v0", dataset="builtin", gradig="strict")


@pytest.mark.parametrize("action", [None, 3, b"18", ["18"], np.array([1, 2])], ids=repr)
def test_an_action_that_is_no_text_is_refused(env: GSM8KEnv, action: Any) -> None:
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=f"a str; got {type(action).__name__}"):
        env.step(action)
    assert env.step("18")[2], "the problem is still posed"


def test_a_step_needs_a_reset(env: GSM8KEnv) -> None:
    with pytest.raises(ResetNeeded, match="reset"):
        env.step("18")
    env.reset()
    env.step("18")
    with pytest.raises(ResetNeeded, match="reset"):
        env.step("18")


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_amid_an_episode_goes_on_alike_and_apart(duplicate: Any) -> None:
    env = gym.make("GSM8K-v0", dataset="builtin")
    env.reset(seed=11)
    twin = duplicate(env)
    assert twin.get_wrapper_attr("problems") is env.get_wrapper_attr("problems"), "the problems are shared"
    assert data_equivalence(env.step("18"), twin.step("18"), exact=True)
    expected = [env.reset()[1]["index"] for _ in range(5)]
    assert [twin.reset()[1]["index"] for _ in range(5)] == expected


def test_num_problems_is_reached_through_wrappers() -> None:
    env: gym.Env = TimeLimit(gym.make("GSM8K-v0", dataset="builtin", split="test"), max_episode_steps=3)
    assert env.get_wrapper_attr("num_problems") == 1319


def test_stock_wrappers_work() -> None:
    env: gym.Env = gym.make("GSM8K-v0", dataset="builtin")
    env = RecordEpisodeStatistics(
        TransformReward(TimeLimit(env, max_episode_steps=3), lambda reward: 2 * float(reward))
    )
    truth = env.reset(seed=0)[1]["ground_truth"]
    _, reward, terminated, truncated, info = env.step(f"#### {truth}")
    assert (reward, terminated, truncated, info["episode"]["r"], info["episode"]["l"]) == (2.0, True, False, 2.0, 1)


def test_observations_flatten() -> None:
    env: gym.Env = FlattenObservation(gym.make("GSM8K-v0", dataset="builtin"))
    observation, info = env.reset(seed=0)
    assert observation in env.observation_space
    text = "".join(map(chr, observation[observation < 0x110000]))
    assert text == render_prompt(info["question"], "hash")


def test_ansi_rendering_shows_the_dialogue() -> None:
    env = GSM8KEnv(dataset="builtin", render_mode="ansi")
    with pytest.raises(ResetNeeded):
        env.render()
    observation, info = env.reset(seed=0)
    assert env.render() == f"[user]\n{observation}"
    env.step(f"#### {info['ground_truth']}")
    assert env.render() == (
        f"[user]\n{observation}\n\n[assistant]\n#### {info['ground_truth']}\n\n[correct: {info['ground_truth']}]"
    )


def test_rendering_without_a_mode_warns(env: GSM8KEnv) -> None:
    env.reset()
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.render() is None


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_the_space_holds_every_builtin_prompt(split: str, instruction: str) -> None:
    space = GSM8KEnv(dataset="builtin").observation_space
    assert all(render_prompt(problem.question, instruction) in space for problem in load_problems(split, "builtin"))


@pytest.mark.skipif("GSM8K_DATASET" not in os.environ, reason="GSM8K_DATASET names no copy of the official data")
def test_the_space_holds_all_official_prompts() -> None:
    folder = Path(os.environ["GSM8K_DATASET"])
    counts = []
    for split in ("train", "test"):
        env = GSM8KEnv(dataset=str(folder), split=split, instruction="boxed")
        questions = [json.loads(line)["question"] for line in (folder / f"{split}.jsonl").open(encoding="utf-8")]
        for index, question in enumerate(questions):
            observation, info = env.reset(options={"index": index})
            assert info["question"] == question
            assert observation in env.observation_space
        counts.append(len(questions))
    assert counts == [7473, 1319]


@pytest.mark.parametrize(
    "text", ["", "x", "π ≈ 3", "答案是 18", "\ud800", "\x00", "🦆" * 1000, "a" * MAX_COMPLETION_LENGTH]
)
def test_any_completion_of_the_stated_length_is_an_action(env: GSM8KEnv, text: str) -> None:
    assert text in env.action_space
    env.reset(seed=0)
    assert env.step(text)[1] == 0.0


def test_a_longer_completion_is_no_action_but_is_graded(env: GSM8KEnv) -> None:
    truth = env.reset(seed=0)[1]["ground_truth"]
    text = "a" * MAX_COMPLETION_LENGTH + f" #### {truth}"
    assert text not in env.action_space
    assert env.step(text)[1] == 1.0


def test_the_terminal_observation_is_in_the_space(env: GSM8KEnv) -> None:
    env.reset()
    assert env.step("")[0] in env.observation_space


class TestUnicodeText:
    def test_membership(self) -> None:
        space = UnicodeText(3)
        assert all(text in space for text in ("", "abc", "日本語", "\ud800"))
        assert all(text not in space for text in ("abcd", 3, None, b"abc", ["a"]))

    def test_samples_are_seeded_short_and_members(self) -> None:
        space, twin = UnicodeText(MAX_COMPLETION_LENGTH, seed=3), UnicodeText(MAX_COMPLETION_LENGTH, seed=3)
        samples = [space.sample() for _ in range(20)]
        assert samples == [twin.sample() for _ in range(20)]
        assert all(sample in space and len(sample) <= 256 and sample.isprintable() for sample in samples)
        assert len(set(samples)) > 15

    def test_a_mask_sets_the_length_only(self) -> None:
        space = UnicodeText(100)
        assert len(space.sample(mask=(7, None))) == 7
        assert len(space.sample(probability=(0, None))) == 0
        with pytest.raises(ValueError, match="mask"):
            space.sample(mask=(7, np.ones(3, dtype=np.int8)))

    def test_equality_is_by_length(self) -> None:
        assert UnicodeText(3) == UnicodeText(3)
        assert UnicodeText(3) != UnicodeText(4)
        assert UnicodeText(3) != gym.spaces.Text(3)
        assert gym.spaces.Text(3) != UnicodeText(3)

    def test_copies_are_equal_and_keep_the_generator(self) -> None:
        space = UnicodeText(300, seed=3)
        twins = copy.deepcopy(space), pickle.loads(pickle.dumps(space))
        expected = space.sample()
        assert all(twin == space and twin.sample() == expected for twin in twins)

    @pytest.mark.parametrize("text", ["", "a🦆\ud800\x00z"])
    def test_flattening_goes_there_and_back(self, text: str) -> None:
        space = UnicodeText(8)
        flat = flatten(space, text)
        assert flat in flatten_space(space)
        assert unflatten(space, flat) == text

    def test_lengths_are_the_documented_ones(self) -> None:
        assert (MAX_PROMPT_LENGTH, MAX_COMPLETION_LENGTH) == (16_384, 1_048_576)


def test_resolved_options_make_the_same_environment(monkeypatch):
    monkeypatch.setenv("GSM8K_DATASET", "builtin:3-3")
    env = gym.make("GSM8K-v0", dataset="auto")
    assert env.get_wrapper_attr("resolved_options") == {"dataset": "builtin:3"}
