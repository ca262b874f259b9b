"""The environment of several turns: attempts, feedback, rewards, and Gymnasium's contract."""

import copy
import pickle
import warnings
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

from gsm8k_env.multi_turn import GSM8KMultiTurnEnv
from gsm8k_env.prompts import FEEDBACK_NO_ANSWER, FEEDBACK_WRONG

ID = "gsm8k_env:GSM8KMultiTurn-v0"


@pytest.fixture
def env() -> GSM8KMultiTurnEnv:
    return GSM8KMultiTurnEnv(dataset="builtin")


def test_the_texts_of_version_0() -> None:
    assert FEEDBACK_WRONG == "That answer is wrong. Try again."
    assert FEEDBACK_NO_ANSWER == "No final answer was found. Try again."


def test_wrong_then_none_then_right(env: GSM8KMultiTurnEnv) -> None:
    _, info = env.reset(seed=0)
    truth = info["ground_truth"]
    assert info["turn"] == 0
    wrong = str(int(truth) + 1)
    assert env.step(f"#### {wrong}") == (
        FEEDBACK_WRONG,
        0.0,
        False,
        False,
        {"correct": False, "extracted": wrong, "method": "hash", "turn": 1},
    )
    assert env.step("Hm.") == (
        FEEDBACK_NO_ANSWER,
        0.0,
        False,
        False,
        {"correct": False, "extracted": None, "method": None, "turn": 2},
    )
    assert env.step(f"#### {truth}") == (
        "",
        1.0,
        True,
        False,
        {"correct": True, "extracted": truth, "method": "hash", "turn": 3},
    )


def test_a_right_answer_ends_the_episode_at_once(env: GSM8KMultiTurnEnv) -> None:
    truth = env.reset(seed=0)[1]["ground_truth"]
    assert env.step(f"#### {truth}")[:4] == ("", 1.0, True, False)
    with pytest.raises(ResetNeeded):
        env.step(f"#### {truth}")


@pytest.mark.parametrize("max_turns", [1, 2, 5])
def test_the_last_failed_attempt_terminates(max_turns: int) -> None:
    env = GSM8KMultiTurnEnv(dataset="builtin", max_turns=max_turns)
    env.reset(seed=0)
    steps = [env.step("") for _ in range(max_turns)]
    assert [step[2] for step in steps] == [False] * (max_turns - 1) + [True]
    assert not any(step[3] for step in steps)
    assert steps[-1][0] == ""
    with pytest.raises(ResetNeeded):
        env.step("")
    env.reset()
    assert env.step("")[4]["turn"] == 1


@pytest.mark.parametrize(("failures", "reward"), [(0, 1.0), (1, 0.5), (2, 0.25)])
def test_the_reward_is_discounted_by_failed_attempts(failures: int, reward: float) -> None:
    env = GSM8KMultiTurnEnv(dataset="builtin", turn_discount=0.5)
    truth = env.reset(seed=0)[1]["ground_truth"]
    assert [env.step("")[1] for _ in range(failures)] == [0.0] * failures
    assert env.step(f"#### {truth}")[1] == reward


def test_feedback_says_nothing_of_the_answer(env: GSM8KMultiTurnEnv) -> None:
    observations = set()
    for index in range(40):
        truth = int(env.reset(options={"index": index})[1]["ground_truth"])
        observations |= {env.step(f"#### {truth + offset}")[0] for offset in (-1, 1)}
    assert observations == {FEEDBACK_WRONG}
    assert not any(character.isdigit() for character in FEEDBACK_WRONG + FEEDBACK_NO_ANSWER)


def test_with_one_turn_it_is_the_single_turn_environment() -> None:
    single, several = gym.make("GSM8K-v0", dataset="builtin"), gym.make(ID, dataset="builtin", max_turns=1)
    observation, info = single.reset(seed=4)
    assert several.reset(seed=4) == (observation, info | {"turn": 0})
    *step, info = single.step("18")
    *ours, our_info = several.step("18")
    assert ours == step
    assert our_info == info | {"turn": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_turns": 0}, "max_turns must be an integer of at least 1, got 0"),
        ({"max_turns": 2.0}, "max_turns must be an integer of at least 1, got 2.0"),
        ({"max_turns": True}, "max_turns must be an integer of at least 1, got True"),
        ({"turn_discount": 0.0}, "turn_discount=0.0, but it must be above 0 and at most 1"),
        ({"turn_discount": float("nan")}, "turn_discount=nan"),
        ({"grading": "strikt"}, "allowed: 'flexible', 'strict', 'boxed'"),
    ],
)
def test_a_bad_make_option_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gym.make(ID, dataset="builtin", **options)


@pytest.mark.parametrize("options", [{}, {"max_turns": 1}, {"turn_discount": 0.9, "split": "test"}], ids=str)
def test_check_env_has_no_complaint(options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(ID, dataset="builtin", **options).unwrapped)


def test_every_observation_is_in_the_space(env: GSM8KMultiTurnEnv) -> None:
    observations = [env.reset(seed=0)[0], *(env.step(text)[0] for text in ("#### 123456789", "", "1"))]
    assert observations[1:] == [FEEDBACK_WRONG, FEEDBACK_NO_ANSWER, ""]
    assert all(observation in env.observation_space for observation in observations)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_amid_an_episode_goes_on_alike_and_apart(duplicate: Any) -> None:
    env = gym.make(ID, dataset="builtin")
    env.reset(seed=11)
    env.step("18")
    twin = duplicate(env)
    assert data_equivalence(env.step(""), twin.step(""), exact=True)
    assert env.step("")[2]
    assert twin.step("")[4]["turn"] == 3
    assert env.reset() == twin.reset()


def test_equally_seeded_environments_stay_equal() -> None:
    first, second = (gym.make(ID, dataset="builtin") for _ in range(2))
    assert first.reset(seed=42) == second.reset(seed=42)
    first.action_space.seed(1)
    for _ in range(30):
        action = first.action_space.sample()
        step, other = first.step(action), second.step(action)
        assert data_equivalence(step, other, exact=True)
        if step[2]:
            assert first.reset() == second.reset()


@pytest.mark.parametrize(("mode", "kind"), [(None, SyncVectorEnv), ("sync", SyncVectorEnv), ("async", AsyncVectorEnv)])
def test_stock_vector_forms(mode: str | None, kind: type) -> None:
    envs = gym.make_vec(ID, num_envs=2, vectorization_mode=mode, dataset="builtin")
    assert isinstance(envs.unwrapped, kind)
    observations, infos = envs.reset(seed=0)
    single = gym.make(ID, dataset="builtin")
    assert observations == (single.reset(seed=0)[0], single.reset(seed=1)[0])
    observations, rewards, terminated, _, infos = envs.step(["", f"#### {infos['ground_truth'][1]}"])
    assert observations == (FEEDBACK_NO_ANSWER, "")
    assert (rewards.tolist(), terminated.tolist(), infos["turn"].tolist()) == ([0.0, 1.0], [False, True], [1, 1])
    envs.close()


def test_rendering_shows_every_turn() -> None:
    env = GSM8KMultiTurnEnv(dataset="builtin", render_mode="ansi")
    observation, info = env.reset(seed=0)
    env.step("Hm.")
    env.step(f"#### {info['ground_truth']}")
    assert env.render() == (
        f"[user]\n{observation}\n\n[assistant]\nHm.\n\n[wrong: None]\n\n[user]\n{FEEDBACK_NO_ANSWER}\n\n"
        f"[assistant]\n#### {info['ground_truth']}\n\n[correct: {info['ground_truth']}]"
    )


def test_what_a_trainer_asks_for() -> None:
    env = gym.make(ID, dataset="builtin", split="test")
    assert env.get_wrapper_attr("num_problems") == 1319
    assert env.get_wrapper_attr("resolved_options") == {"dataset": "builtin"}
