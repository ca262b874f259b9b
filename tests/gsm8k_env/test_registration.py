"""GSM8K-v0 is found by Gymnasium, in this process and in fresh ones, without heavy imports."""

import pickle
import subprocess
import sys
import warnings
from typing import Any

import cloudpickle
import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

from gsm8k_env.env import GSM8KEnv
from gsm8k_env.vector import GSM8KVectorEnv

OPTION_SETS = [
    {},
    {"split": "test"},
    {"dataset": "builtin:1-2"},
    {"dataset": "builtin:3", "split": "test"},
    {"grading": "strict"},
    {"grading": "boxed", "instruction": "boxed"},
    {"instruction": "none"},
    {"instruction": "Réponds en un mot, s'il te plaît."},
    {"render_mode": "ansi"},
]


def run_python(code: str) -> str:
    """Runs code in a fresh interpreter, warnings being errors there, and returns what it printed."""
    command = [sys.executable, "-W", "error::UserWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_entry_points_are_strings() -> None:
    spec = gym.spec("GSM8K-v0")
    assert spec.entry_point == "gsm8k_env.env:GSM8KEnv"
    assert spec.vector_entry_point == "gsm8k_env.vector:GSM8KVectorEnv"


@pytest.mark.parametrize("options", OPTION_SETS, ids=str)
def test_check_env_has_no_complaint(options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make("GSM8K-v0", **{"dataset": "builtin", **options}).unwrapped
        check_env(env)


def test_make_and_make_vec_give_our_classes() -> None:
    assert isinstance(gym.make("GSM8K-v0", dataset="builtin").unwrapped, GSM8KEnv)
    envs = gym.make_vec("GSM8K-v0", num_envs=8, dataset="builtin")
    assert isinstance(envs.unwrapped, GSM8KVectorEnv)
    assert envs.num_envs == 8


def test_the_spec_makes_the_same_environment_again() -> None:
    env = gym.make("GSM8K-v0", dataset="builtin:1", split="test", instruction="boxed")
    assert env.spec is not None
    spec = gym.envs.registration.EnvSpec.from_json(env.spec.to_json())
    assert env.reset(seed=5) == gym.make(spec).reset(seed=5)


def test_importing_registers_and_loads_nothing_heavy() -> None:
    printed = run_python(
        "import sys, gsm8k_env\n"
        "light = {'torch', 'ray', 'transformers', 'datasets', 'pyarrow', 'gsm8k_env.env'} & set(sys.modules)\n"
        "import gymnasium as gym\n"
        "env = gym.make('GSM8K-v0', dataset='builtin')\n"
        "observation, info = env.reset(seed=0)\n"
        "reward = env.step('#### ' + info['ground_truth'])[1]\n"
        "heavy = {'torch', 'ray', 'transformers'} & set(sys.modules)\n"
        "print(light, reward, heavy)"
    )
    assert printed.strip() == "set() 1.0 set()"


def test_the_module_prefix_needs_no_import() -> None:
    printed = run_python(
        "import gymnasium as gym\n"
        "env = gym.make('gsm8k_env:GSM8K-v0', dataset='builtin')\n"
        "envs = gym.make_vec('gsm8k_env:GSM8K-v0', num_envs=2, dataset='builtin')\n"
        "print(env.reset(seed=3)[0] == envs.reset(seed=3)[0][0])"
    )
    assert printed.strip() == "True"


def test_a_pickled_environment_opens_in_a_fresh_process() -> None:
    env = gym.make("GSM8K-v0", dataset="builtin")
    env.reset(seed=0)
    data = pickle.dumps(env)
    printed = run_python(
        f"import pickle\nenv = pickle.loads({data!r})\nprint(env.reset()[1]['index'], env.step('')[1])"
    )
    assert printed.split() == [str(env.reset()[1]["index"]), "0.0"]
    assert len(data) < 10_000, "the problems themselves do not travel"


def test_a_factory_closure_travels_by_cloudpickle() -> None:
    make = cloudpickle.loads(cloudpickle.dumps(lambda: gym.make("gsm8k_env:GSM8K-v0", dataset="builtin:1")))
    assert make().reset(seed=1)[1]["dataset"] == "builtin:1"
