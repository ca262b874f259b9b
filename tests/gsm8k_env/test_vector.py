"""The native vector form does what Gymnasium's own does over the same environments, and no more steps."""

import copy
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

from gsm8k_env.env import GSM8KEnv
from gsm8k_env.vector import GSM8KVectorEnv

N = 5


def make_native(**options: Any) -> VectorEnv:
    return gym.make_vec("GSM8K-v0", num_envs=N, **{"dataset": "builtin", **options})


def make_stock(mode: str = "sync", **vector_kwargs: Any) -> VectorEnv:
    return gym.make_vec(
        "GSM8K-v0",
        num_envs=N,
        dataset="builtin",
        vectorization_mode=mode,
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP, **vector_kwargs},
    )


@pytest.fixture
def envs() -> GSM8KVectorEnv:
    return GSM8KVectorEnv(num_envs=N, dataset="builtin")


def answers(infos: dict[str, Any], right: list[int]) -> tuple[str, ...]:
    """One completion an environment: right ones where asked, elsewhere a wrong one or none."""
    truths = infos["ground_truth"]
    return tuple(f"#### {truth}" if i in right else ["", "I do not know"][i % 2] for i, truth in enumerate(truths))


@pytest.mark.parametrize("seed", [0, 123, [5, 4, 3, 2, 1]])
def test_it_equals_the_stock_form_in_every_value_and_layout(seed: Any) -> None:
    native, stock = make_native(), make_stock()
    ours: Any = native.reset(seed=seed)
    theirs: Any = stock.reset(seed=seed)
    assert data_equivalence(ours, theirs, exact=True)
    for step in range(20):
        actions = answers(ours[-1], right=[step % N, (step + 2) % N])
        ours, theirs = native.step(actions), stock.step(actions)
        assert data_equivalence(ours, theirs, exact=True)
        assert ours[1].sum() == 2.0
    assert data_equivalence(native.reset(), stock.reset(), exact=True)


def test_it_equals_single_environments_with_consecutive_seeds(envs: GSM8KVectorEnv) -> None:
    singles = [GSM8KEnv(dataset="builtin") for _ in range(N)]
    observations, infos = envs.reset(seed=30)
    expected = [env.reset(seed=30 + i) for i, env in enumerate(singles)]
    for _ in range(10):
        assert observations == tuple(observation for observation, _ in expected)
        actions = answers(infos, right=[0, 3])
        steps = [env.step(action) for env, action in zip(singles, actions, strict=True)]
        observations, rewards, terminations, truncations, infos = envs.step(actions)
        assert rewards.tolist() == [step[1] for step in steps]
        assert terminations.all() and not truncations.any()
        assert infos["final_info"]["extracted"].tolist() == [step[4]["extracted"] for step in steps]
        expected = [env.reset() for env in singles]


def test_no_step_is_wasted(envs: GSM8KVectorEnv) -> None:
    _, infos = envs.reset(seed=0)
    for _ in range(10):
        _, rewards, _, _, infos = envs.step(answers(infos, right=list(range(N))))
        assert rewards.tolist() == [1.0] * N


def test_the_layout_is_the_documented_one(envs: GSM8KVectorEnv) -> None:
    _, infos = envs.reset(seed=0)
    reset_keys = ["question", "ground_truth", "index", "split", "dataset", "num_steps"]
    assert list(infos) == [name for key in reset_keys for name in (key, f"_{key}")]
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    infos = envs.step([""] * N)[4]
    assert list(infos)[:4] == ["final_obs", "_final_obs", "final_info", "_final_info"]
    assert infos["final_obs"].tolist() == [""] * N
    assert infos["index"].dtype == np.int64
    assert infos["final_info"]["correct"].dtype == np.bool_


@pytest.mark.parametrize("index", [[4, 0, 7472, 4, 1], (4, 0, 7472, 4, 1), np.array([4, 0, 7472, 4, 1])])
def test_indices_one_an_environment(envs: GSM8KVectorEnv, index: Any) -> None:
    observations, infos = envs.reset(options={"index": index})
    assert infos["index"].tolist() == [4, 0, 7472, 4, 1]
    single = GSM8KEnv(dataset="builtin")
    assert observations == tuple(single.reset(options={"index": int(i)})[0] for i in index)


def test_one_index_for_all_is_a_group(envs: GSM8KVectorEnv) -> None:
    observations, infos = envs.reset(options={"index": 6})
    assert len(set(observations)) == 1
    assert infos["index"].tolist() == [6] * N


def test_none_among_indices_draws(envs: GSM8KVectorEnv) -> None:
    drawn = envs.reset(seed=0)[1]["index"].tolist()
    mixed = envs.reset(seed=0, options={"index": [None, 3, None, 3, None]})[1]["index"].tolist()
    assert mixed == [drawn[0], 3, drawn[2], 3, drawn[4]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": [0, 1]}, r"num_envs=5 of them, got 2"),
        ({"index": 7473}, r"from 0 to 7472.*got 7473"),
        ({"index": [0, 1, -1, 2, 3]}, r"from 0 to 7472.*got -1"),
        ({"index": "01234"}, r"from 0 to 7472"),
        ({"seed": 3}, r"Unknown reset option 'seed'; allowed: 'index'"),
    ],
)
def test_bad_reset_options_are_refused(envs: GSM8KVectorEnv, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        envs.reset(options=options)


def test_bad_seeds_are_refused(envs: GSM8KVectorEnv) -> None:
    with pytest.raises(ValueError, match="num_envs=5"):
        envs.reset(seed=[1, 2])
    with pytest.raises(gym.error.Error, match="Seed"):
        envs.reset(seed=-5)


def test_a_none_seed_leaves_that_generator_alone(envs: GSM8KVectorEnv) -> None:
    envs.reset(seed=0)
    continued = envs.reset()[1]["index"].tolist()
    envs.reset(seed=0)
    mixed = envs.reset(seed=[None, 1, None, 3, None])[1]["index"].tolist()
    fresh = envs.reset(seed=0)[1]["index"].tolist()
    assert mixed == [continued[0], fresh[1], continued[2], fresh[3], continued[4]]


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (["18"] * 4, "num_envs=5 completions, got 4"),
        ("12345", "num_envs=5 completions, got one str"),
        (["18", "18", 18, "18", "18"], "got int for environment 2"),
    ],
)
def test_bad_actions_are_refused(envs: GSM8KVectorEnv, actions: Any, message: str) -> None:
    envs.reset(seed=0)
    with pytest.raises(InvalidAction, match=message):
        envs.step(actions)


def test_actions_may_be_an_array_or_a_sample(envs: GSM8KVectorEnv) -> None:
    truths = envs.reset(seed=0)[1]["ground_truth"]
    assert envs.step(np.array([f"#### {truth}" for truth in truths]))[1].sum() == N
    assert envs.step(envs.action_space.sample())[1].shape == (N,)


def test_a_step_needs_a_reset(envs: GSM8KVectorEnv) -> None:
    with pytest.raises(ResetNeeded, match="reset"):
        envs.step(["18"] * N)


def test_at_least_one_environment() -> None:
    with pytest.raises(ValueError, match="num_envs must be an integer of at least 1, got 0"):
        GSM8KVectorEnv(num_envs=0, dataset="builtin")


def test_spaces_hold_what_is_returned(envs: GSM8KVectorEnv) -> None:
    observations, _ = envs.reset(seed=0)
    assert observations in envs.observation_space
    assert tuple(["18"] * N) in envs.action_space
    assert envs.step(["18"] * N)[0] in envs.observation_space
    single = GSM8KEnv(dataset="builtin")
    assert envs.single_observation_space == single.observation_space
    assert envs.single_action_space == single.action_space


def test_infos_are_fresh_arrays_each_step(envs: GSM8KVectorEnv) -> None:
    _, infos = envs.reset(seed=0)
    expected = infos["index"].tolist()
    infos["index"][:] = 0
    infos["ground_truth"][:] = "0"
    infos["_index"][:] = False
    answers_to_posed = [f"#### {envs.problems[index].ground_truth}" for index in expected]
    assert envs.step(answers_to_posed)[1].tolist() == [1.0] * N


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda envs: pickle.loads(pickle.dumps(envs))])
def test_copies_go_on_alike_and_apart(envs: GSM8KVectorEnv, duplicate: Any) -> None:
    envs.reset(seed=3)
    twin = duplicate(envs)
    assert twin.problems is envs.problems
    for _ in range(3):
        assert data_equivalence(envs.step(["18"] * N), twin.step(["18"] * N), exact=True)


def test_generators_are_named_as_in_the_stock_form(envs: GSM8KVectorEnv) -> None:
    assert len(envs.np_random) == N
    envs.reset(seed=8)
    assert envs.np_random_seed == (8, 9, 10, 11, 12)


def test_record_episode_statistics() -> None:
    envs = RecordEpisodeStatistics(make_native())
    _, infos = envs.reset(seed=0)
    _, rewards, _, _, infos = envs.step(answers(infos, right=[1, 2]))
    assert infos["episode"]["r"].tolist() == rewards.tolist() == [0.0, 1.0, 1.0, 0.0, 0.0]
    assert infos["episode"]["l"].tolist() == [1] * N


def test_dict_info_to_list() -> None:
    envs = DictInfoToList(make_native())
    _, infos = envs.reset(seed=0)
    assert [info["split"] for info in infos] == ["train"] * N


def test_rendering() -> None:
    envs = make_native(render_mode="ansi")
    with pytest.raises(ResetNeeded):
        envs.render()
    observations, _ = envs.reset(seed=0)
    assert envs.render() == tuple(f"[user]\n{observation}" for observation in observations)


@pytest.mark.parametrize("shared_memory", [True, False])
@pytest.mark.parametrize("context", ["spawn", None])
def test_async_processes_equal_the_native_form(shared_memory: bool, context: str | None) -> None:
    native, processes = make_native(), make_stock("async", shared_memory=shared_memory, context=context)
    try:
        assert data_equivalence(native.reset(seed=0), processes.reset(seed=0), exact=True)
        for _ in range(3):
            actions = ["#### 18", "", "\\boxed{3}", "π", "12"]
            assert data_equivalence(native.step(actions), processes.step(actions), exact=True)
    finally:
        processes.close()


def test_async_processes_need_no_import_before() -> None:
    factories = [lambda: gym.make("gsm8k_env:GSM8K-v0", dataset="builtin", split="test") for _ in range(2)]
    processes = AsyncVectorEnv(factories, context="spawn")
    try:
        observations: Any
        observations, infos = processes.reset(seed=1)
        assert infos["split"].tolist() == ["test", "test"]
        assert all(question in text for question, text in zip(infos["question"], observations, strict=True))
        assert processes.step(["", ""])[0] == ("", "")
    finally:
        processes.close()
