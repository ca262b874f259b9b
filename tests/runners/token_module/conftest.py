from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents.models import resolve_model
from runners.token_module.module import CausalLMModule

TINY = str(resolve_model("tiny"))


def make_env(**options: Any) -> gym.Env:
    """The environment in the bundled model's tokens."""
    defaults = {"dataset": "builtin:1", "tokenizer": TINY, "observation": "dict", "max_tokens": 24}
    return gym.make("gsm8k_env:GSM8KTokens-v0", **(defaults | {"max_prompt_tokens": 200} | options))


def make_module(env: gym.Env, **model_config: Any) -> CausalLMModule:
    """The module, as RLlib makes it."""
    return CausalLMModule(
        observation_space=env.observation_space, action_space=env.action_space, model_config=model_config
    )


@pytest.fixture(scope="session")
def env() -> gym.Env:
    return make_env()


@pytest.fixture
def module(env: gym.Env) -> CausalLMModule:
    torch.set_num_threads(1)
    return make_module(env)


def batch_of(observations: list[dict[str, Any]]) -> dict[str, Any]:
    """What RLlib's connectors make of observations."""
    return {
        "obs": {
            "token_ids": torch.as_tensor(np.stack([one["token_ids"] for one in observations])),
            "length": torch.as_tensor([int(one["length"]) for one in observations]),
        }
    }


@pytest.fixture
def episode(env: gym.Env) -> Callable[[int], list[dict[str, Any]]]:
    """Returns a function from a problem's index to the observations of an episode that writes its solution."""

    def observations(index: int) -> list[dict[str, Any]]:
        first, info = env.reset(options={"index": index})
        token_ids = env.get_wrapper_attr("vocabulary").encode(f"The answer is #### {info['ground_truth']}")
        return [first, *(env.step(token_id)[0] for token_id in token_ids)]

    return observations
