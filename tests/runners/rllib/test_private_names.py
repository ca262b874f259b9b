"""What an upgrade of Ray may change under us: each private name of RLlib that is used here fails by its name."""

import inspect

import pytest
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core.learner.torch.torch_learner import TorchLearner

from runners.rllib.config import GRPOSettings
from runners.rllib.env_runner import TextEnvRunner
from runners.rllib.grpo import GRPO, GRPOConfig
from runners.rllib.learner import GRPOLearner
from runners.rllib.private import BareModules, OneSetOfEngines
from runners.rllib.rl_module import TextPolicyModule

OVERRIDDEN = [
    (Algorithm, OneSetOfEngines, "_should_create_evaluation_env_runners"),
    (TorchLearner, BareModules, "_make_modules_ddp_if_necessary"),
]
OURS = (GRPO, GRPOConfig, GRPOSettings, TextEnvRunner, GRPOLearner, TextPolicyModule)


@pytest.mark.parametrize(("theirs", "ours", "name"), OVERRIDDEN, ids=lambda value: getattr(value, "__name__", value))
def test_rllib_still_has_the_private_name_with_the_same_parameters(theirs: type, ours: type, name: str) -> None:
    assert hasattr(theirs, name), f"{theirs.__name__}.{name} is gone from RLlib"
    parameters = [set(inspect.signature(getattr(cls, name)).parameters) for cls in (theirs, ours)]
    # Ray adds one of its own to the methods of a class that was made an actor.
    assert parameters[0] - {"_ray_trace_ctx"} == parameters[1] - {"_ray_trace_ctx"}


def test_no_class_of_ours_overrides_any_other_private_name_of_rllib() -> None:
    found = {
        name
        for cls in OURS
        for base in cls.__mro__[1:]
        if base.__module__.startswith("ray.")
        for name in vars(base).keys() & vars(cls).keys()
        if name.startswith("_") and not name.startswith("__") and name != "_abc_impl"
    }
    assert not found
