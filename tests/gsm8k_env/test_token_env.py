"""The environment of tokens keeps Gymnasium's contract, and agrees with the environment of texts."""

import copy
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import FlattenObservation, RecordEpisodeStatistics, TimeLimit
from gymnasium.wrappers.vector import RecordEpisodeStatistics as RecordVectorStatistics

from gsm8k_env.env import GSM8KEnv
from gsm8k_env.token_env import GSM8KTokensEnv

TINY = str(Path(__file__).parents[2] / "agents" / "tiny_model" / "checkpoint")
DIGITS = {"dataset": "builtin:1", "instruction": "none", "alphabet": "0123456789", "max_tokens": 3}
SMALL = DIGITS | {"max_prompt_tokens": 200}


def make(**options: Any) -> gym.Env:
    return gym.make("gsm8k_env:GSM8KTokens-v0", **{"dataset": "builtin", **options})


def write(env: gym.Env, actions: list[int]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
    """Takes the actions; none but the last may end the episode or be rewarded. Returns the last step."""
    for action in actions[:-1]:
        assert env.step(action)[1:] == (0.0, False, False, {})
    return env.step(actions[-1])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"split": "test", "grading": "strict", "instruction": "boxed"},
        {"observation": "dict"},
        SMALL,
        SMALL | {"observation": "dict", "max_tokens": 1},
        {"tokenizer": TINY},
        {"tokenizer": TINY, "observation": "dict", "alphabet": "0123456789#"},
        {"render_mode": "ansi"},
    ],
    ids=str,
)
def test_check_env_has_no_complaint(options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(**options).unwrapped)


def test_an_episode_is_a_text_token_by_token() -> None:
    env = make(observation="dict")
    observation, info = env.reset(options={"index": 17})
    prompt, expected_info = GSM8KEnv(dataset="builtin").reset(options={"index": 17})
    assert info == expected_info
    prompt_bytes = list(prompt.encode())
    expected = np.full(1280 + 512, 257)
    expected[: len(prompt_bytes) + 1] = [*prompt_bytes, 256]
    assert observation["token_ids"].tolist() == expected.tolist()
    assert observation["length"] == len(prompt_bytes) + 1

    text = f"#### {info['ground_truth']}"
    observation, reward, terminated, truncated, info = write(env, [*text.encode(), 256])
    expected[len(prompt_bytes) + 1 : len(prompt_bytes) + 2 + len(text)] = [*text.encode(), 256]
    assert observation["token_ids"].tolist() == expected.tolist()
    assert observation["length"] == len(prompt_bytes) + 2 + len(text)
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert info == {
        "correct": True,
        "extracted": text.removeprefix("#### "),
        "method": "hash",
        "completion": text,
        "finish_reason": "stop",
    }


def test_the_flat_observation_is_the_ids_over_the_vocabulary() -> None:
    flat, ids = make(), make(observation="dict")
    for seed in range(3):
        observation = flat.reset(seed=seed)[0]
        token_ids = ids.reset(seed=seed)[0]["token_ids"]
        assert observation.dtype == np.float32
        assert np.rint(observation * 257).astype(np.int32).tolist() == token_ids.tolist()


def test_spaces_are_as_documented() -> None:
    flat, ids = make(**SMALL), make(**SMALL | {"observation": "dict"})
    assert flat.action_space == ids.action_space == Discrete(11)
    assert flat.observation_space == Box(0, 1, (203,), np.float32)
    assert ids.observation_space == Dict(token_ids=Box(0, 257, (203,), np.int32), length=Discrete(204))
    assert make().action_space == Discrete(257)
    assert make(tokenizer=TINY).action_space == Discrete(512)


@pytest.mark.parametrize("options", [{"max_tokens": 5}, SMALL, SMALL | {"observation": "dict"}], ids=str)
def test_every_observation_is_in_the_space_and_is_never_written_again(options: dict[str, Any]) -> None:
    env = make(**options)
    env.action_space.seed(0)
    kept: list[tuple[Any, Any]] = []
    for _ in range(20):
        observation, terminated = env.reset()[0], False
        while not terminated:
            assert observation in env.observation_space
            kept.append((observation, copy.deepcopy(observation)))
            observation, _, terminated, _, _ = env.step(env.action_space.sample())
        assert observation in env.observation_space
    assert all(data_equivalence(first, second, exact=True) for first, second in kept)


def test_the_limit_terminates_and_grades_the_text_as_it_stands() -> None:
    env = make(**SMALL)
    truth = env.reset(seed=0)[1]["ground_truth"]
    _, reward, terminated, truncated, info = write(env, [int(digit) for digit in truth.zfill(3)])
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert (info["completion"], info["finish_reason"]) == (truth.zfill(3), "length")


def test_the_end_token_at_the_limit_is_a_stop() -> None:
    env = make(**SMALL | {"max_tokens": 1})
    env.reset(seed=0)
    assert env.step(10)[4]["finish_reason"] == "stop"


def test_an_empty_and_a_wrong_completion_earn_nothing() -> None:
    env = make(**SMALL)
    env.reset(seed=0)
    assert env.step(10)[1:4] == (0.0, True, False)
    truth = int(env.reset(seed=0)[1]["ground_truth"])
    _, reward, terminated, _, info = write(env, [*map(int, str(truth + 1)), 10])
    assert (reward, terminated, info["correct"], info["extracted"]) == (0.0, True, False, str(truth + 1))


def test_the_grading_option_reaches_the_grader() -> None:
    for grading, reward in (("flexible", 1.0), ("strict", 0.0)):
        env = make(**SMALL, grading=grading)
        truth = env.reset(seed=0)[1]["ground_truth"]
        assert write(env, [int(digit) for digit in truth.zfill(3)])[1] == reward


@pytest.mark.parametrize("tokenizer", ["bytes", TINY], ids=["bytes", "tiny"])
def test_an_alphabet_names_the_tokens_of_its_characters(tokenizer: str) -> None:
    env = make(tokenizer=tokenizer, alphabet="9#0", max_tokens=8)
    vocabulary, token_ids = (env.get_wrapper_attr(name) for name in ("vocabulary", "action_token_ids"))
    assert env.action_space == Discrete(4)
    assert [vocabulary.decode([token_id]) for token_id in token_ids] == ["9", "#", "0", ""]
    assert token_ids[-1] == vocabulary.end_token_id
    env.reset(seed=0)
    assert write(env, [1, 1, 1, 1, 0, 2, 3])[4]["completion"] == "####90"


def test_a_pretrained_tokenizer_poses_and_reads_the_same_problem() -> None:
    env = make(tokenizer=TINY, observation="dict")
    vocabulary = env.get_wrapper_attr("vocabulary")
    observation, info = env.reset(options={"index": 5})
    prompt = GSM8KEnv(dataset="builtin").reset(options={"index": 5})[0]
    assert observation["token_ids"][: observation["length"]].tolist() == vocabulary.encode_prompt(prompt)
    text = f"so \\boxed{{{info['ground_truth']}}}"
    _, reward, _, _, info = write(env, [*vocabulary.encode(text), vocabulary.end_token_id])
    assert (reward, info["completion"], info["finish_reason"]) == (1.0, text, "stop")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 0}, "max_tokens must be an integer of at least 1, got 0"),
        ({"max_tokens": True}, "max_tokens must be"),
        ({"max_prompt_tokens": 1.5}, "max_prompt_tokens must be an integer of at least 1, got 1.5"),
        ({"max_prompt_tokens": 100}, r"longest prompt of builtin has \d+ tokens, but max_prompt_tokens is 100"),
        ({"observation": "flatt"}, "observation 'flatt'; allowed: 'flat', 'dict'"),
        ({"alphabet": ""}, "alphabet must be a text of different characters"),
        ({"alphabet": "00"}, "alphabet must be .* got '00'"),
        ({"alphabet": "0π"}, "'π' is 2 of this tokenizer"),
        ({"tokenizer": "byts"}, "Unknown tokenizer 'byts': neither 'bytes'"),
        ({"split": "tran"}, "allowed: 'train', 'test'"),
    ],
)
def test_a_bad_make_option_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_the_room_for_prompts_is_exact() -> None:
    longest = max(len(question.encode()) for question in make().get_wrapper_attr("problems").questions) + 1
    make(instruction="none", max_prompt_tokens=longest)
    with pytest.raises(ValueError, match=f"to {longest} or more"):
        make(instruction="none", max_prompt_tokens=longest - 1)


@pytest.mark.parametrize("action", [-1, 11, 1.0, "3", None, np.array([1, 2])], ids=repr)
def test_an_action_outside_the_space_is_refused(action: Any) -> None:
    env = GSM8KTokensEnv(**SMALL)
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match="from 0 to 10"):
        env.step(action)
    assert not env.step(np.int64(3))[2], "the episode is still open"


def test_a_step_needs_a_reset() -> None:
    env = GSM8KTokensEnv(**SMALL)
    for _ in range(2):
        with pytest.raises(ResetNeeded, match="reset"):
            env.step(10)
        env.reset()
        env.step(10)


def test_equal_seeds_give_the_problems_of_the_text_environment() -> None:
    tokens, texts = make(), GSM8KEnv(dataset="builtin")
    assert tokens.reset(seed=42)[1] == texts.reset(seed=42)[1]
    for _ in range(20):
        assert tokens.reset()[1] == texts.reset()[1]
    assert tokens.np_random_seed == 42
    assert tokens.np_random.bit_generator.state == texts.np_random.bit_generator.state


def test_an_index_leaves_the_generator_alone_and_a_refused_reset_changes_nothing() -> None:
    env = make()
    env.reset(seed=7)
    state = env.np_random.bit_generator.state
    assert env.reset(options={"index": 3})[1]["index"] == 3
    with pytest.raises(ValueError, match="from 0 to 7472"):
        env.reset(seed=8, options={"index": -1})
    with pytest.raises(ValueError, match="allowed: 'index'"):
        env.reset(options={"indx": 1})
    assert env.np_random.bit_generator.state == state


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_amid_an_episode_goes_on_alike_and_apart(duplicate: Any) -> None:
    env = make(**SMALL)
    env.reset(seed=11)
    env.step(1)
    twin = duplicate(env)
    first, second = ([one.step(2), one.step(10), *(one.reset() for _ in range(5))] for one in (env, twin))
    assert data_equivalence(first, second, exact=True)
    assert twin.get_wrapper_attr("problems") is env.get_wrapper_attr("problems")
    assert len(pickle.dumps(env)) < 20_000


def test_what_a_trainer_asks_for_is_reached_through_wrappers() -> None:
    env = TimeLimit(make(split="test"), max_episode_steps=3)
    assert env.get_wrapper_attr("num_problems") == 1319
    assert env.get_wrapper_attr("resolved_options") == {"dataset": "builtin"}


def test_stock_wrappers_work() -> None:
    env: gym.Env = RecordEpisodeStatistics(FlattenObservation(make(**SMALL | {"observation": "dict"})))
    observation, info = env.reset(seed=0)
    assert observation in env.observation_space
    _, _, terminated, _, info = write(env, [int(digit) for digit in info["ground_truth"].zfill(3)])
    assert (terminated, info["episode"]["r"], info["episode"]["l"]) == (True, 1.0, 3)


def test_a_limit_from_outside_truncates_without_a_grade() -> None:
    env = TimeLimit(make(**SMALL), max_episode_steps=2)
    env.reset(seed=0)
    env.step(1)
    assert env.step(1)[1:] == (0.0, False, True, {})


@pytest.mark.parametrize("observation", ["flat", "dict"])
def test_vector_forms_agree(observation: str) -> None:
    options = SMALL | {"observation": observation}
    rollouts = []
    for mode in ("sync", "async"):
        envs = RecordVectorStatistics(
            gym.make_vec("gsm8k_env:GSM8KTokens-v0", num_envs=3, vectorization_mode=mode, **options)
        )
        envs.action_space.seed(0)
        observations, _ = envs.reset(seed=5)
        rollout: list[Any] = [observations]
        for _ in range(8):
            observations, rewards, terminations, truncations, _ = envs.step(envs.action_space.sample())
            assert observations in envs.observation_space
            rollout += [observations, rewards, terminations, truncations]
        assert envs.episode_count >= 3
        rollouts.append(rollout)
        envs.close()
    assert data_equivalence(*rollouts, exact=True)


def test_a_vector_step_gives_the_ended_text_and_the_next_problem() -> None:
    envs = gym.make_vec(
        "gsm8k_env:GSM8KTokens-v0",
        num_envs=2,
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        **SMALL | {"observation": "dict"},
    )
    observations, _ = envs.reset(seed=0)
    following, _, terminations, _, infos = envs.step(np.array([10, 4]))
    assert terminations.tolist() == [True, False]
    assert infos["final_info"]["finish_reason"][0] == "stop"
    assert infos["final_obs"][0]["length"] == observations["length"][0] + 1
    assert following["length"][1] == observations["length"][1] + 1
    assert following["token_ids"][0].tolist() != observations["token_ids"][0].tolist()


def test_ansi_rendering_shows_the_text_as_it_grows() -> None:
    env = GSM8KTokensEnv(**SMALL, render_mode="ansi")
    question, truth = (env.reset(seed=0)[1][key] for key in ("question", "ground_truth"))
    assert env.render() == f"[user]\n{question}"
    env.step(0)
    assert env.render() == f"[user]\n{question}\n\n[assistant]\n0"
    write(env, [int(digit) for digit in truth.zfill(2)])
    assert env.render() == f"[user]\n{question}\n\n[assistant]\n0{truth.zfill(2)}\n\n[correct: 0{truth.zfill(2)}]"


def test_the_default_vocabulary_loads_nothing_heavy() -> None:
    code = (
        "import sys, gymnasium as gym\n"
        "env = gym.make('gsm8k_env:GSM8KTokens-v0', dataset='builtin', max_tokens=1)\n"
        "env.reset(seed=0), env.step(3)\n"
        "print({'torch', 'ray', 'transformers', 'tokenizers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "set()", done.stderr


def test_action_masks_leave_out_special_tokens_but_the_end() -> None:
    assert make(**SMALL).get_wrapper_attr("action_masks")().tolist() == [True] * 11
    env = make(tokenizer=TINY)
    env.reset(seed=0)
    masks, vocabulary = env.get_wrapper_attr("action_masks")(), env.unwrapped.vocabulary
    assert masks.dtype == np.bool_ and masks.shape == (env.action_space.n,)
    left_out = [vocabulary._tokenizer.convert_ids_to_tokens(int(i)) for i in np.flatnonzero(~masks)]
    assert sorted(left_out) == ["<|assistant|>", "<|pad|>", "<|user|>"]
    assert masks[vocabulary.end_token_id]
    assert env.step(int(np.flatnonzero(~masks)[0]))[1:3] == (0.0, False), "of little use, and allowed"
