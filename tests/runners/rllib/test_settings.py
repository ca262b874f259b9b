"""RLlib takes -1 for "not given" and puts the default in its place: every setting of -1 is refused instead."""

from typing import Any

import pytest

from runners.rllib.grpo import GRPO, GRPOConfig
from tests.runners.rllib.conftest import small_config

MINUS_ONE = [
    ("training", "lr", "a number >= 0"),
    ("training", "grad_clip", "> 0, or None"),
    ("training", "kl_coeff", ">= 0"),
    ("training", "weight_decay", "a number >= 0"),
    ("training", "minibatch_size", "an int >= 1, or None"),
    ("training", "num_epochs", ">= 1"),
    ("debugging", "seed", "an int >= 0"),
    ("learners", "num_learners", "an int >= 0"),
    ("env_runners", "num_env_runners", "an int >= 0"),
    ("training", "max_logits", "an int >= 1"),
    ("agents", "num_threads", "an int >= 1 and <= 1024, or None"),
    # RLlib's own have no range here: what is said of them is that -1 is no value.
    ("env_runners", "sample_timeout_s", "another value than -1"),
    ("evaluation", "evaluation_duration", "another value than -1"),
]


@pytest.mark.parametrize("value", [-1, -1.0])
@pytest.mark.parametrize(("method", "name", "allowed"), MINUS_ONE)
def test_minus_one_is_refused_when_the_algorithm_is_built(method: str, name: str, allowed: str, value: float) -> None:
    config = getattr(small_config(), method)(**{name: value})
    with pytest.raises(ValueError, match=rf"{name}={value}, but it must be .*{allowed}"):
        config.build_algo()


def test_a_dict_of_settings_as_tune_gives_it_is_no_way_around() -> None:
    with pytest.raises(ValueError, match="lr=-1, but it must be a number >= 0"):
        GRPO(config=small_config().to_dict() | {"lr": -1})


@pytest.mark.parametrize(
    ("method", "name", "value"),
    [
        ("training", "lr", -1e-6),
        ("training", "lr", float("nan")),
        ("training", "lr", True),
        ("training", "grad_clip", 0),
        ("training", "grad_clip", float("nan")),
        ("training", "weight_decay", float("inf")),
        ("debugging", "seed", -2),
        ("debugging", "seed", 1.5),
        ("learners", "num_learners", -3),
        ("env_runners", "num_env_runners", 0.5),
    ],
)
def test_out_of_range(method: str, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name}={value}, but it must be"):
        getattr(small_config(), method)(**{name: value}).validate()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_that_are_trained_are_float32(dtype: str) -> None:
    with pytest.raises(ValueError, match=f"dtype='{dtype}', but it must be \"float32\" where every weight is trained"):
        small_config().agents(dtype=dtype).validate()
    small_config().agents(dtype=dtype, lora_rank=4).validate()


def test_the_ends_of_the_ranges_are_allowed() -> None:
    config = small_config(lr=0, grad_clip=None, weight_decay=0).debugging(seed=0).learners(num_learners=0)
    config.validate()
    assert GRPOConfig().from_state(config.get_state()).grad_clip is None
