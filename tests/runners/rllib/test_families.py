"""Learners of a policy that cannot share prompts find it out by themselves."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runners.rllib.grpo import GRPO, GRPOConfig
from tests.runners.rllib.conftest import small_config, updater_of
from tests.runners.updating.families import save_model


def config(family: str, folder: Path, **settings: object) -> GRPOConfig:
    model = str(save_model(family, folder))
    return small_config(max_prompt_tokens=200, **settings).agents(
        policy_model=model, engine_options={"max_model_len": 256}
    )


def largest_difference(algo: GRPO) -> float:
    return algo.train()["learners"]["default_policy"]["rollout_logprob_diff_max"]


@pytest.mark.slow
def test_a_window_and_a_reference(build: Callable[[GRPOConfig], GRPO], tmp_path: Path) -> None:
    algo = build(config("Mistral", tmp_path, kl_coeff=0.1))
    updater = updater_of(algo)
    assert updater.scorer.shared_tokens == updater._reference.shared_tokens == 0
    assert max(largest_difference(algo) for _ in range(2)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("family", ["Mistral", "Bloom", "Mamba"])  # others fail
def test_sharded(family: str, build: Callable[[GRPOConfig], GRPO], tmp_path: Path) -> None:
    algo = build(config(family, tmp_path, fully_shard=True, kl_coeff=0.1).learners(num_learners=2))
    assert max(largest_difference(algo) for _ in range(2)) < 1e-5
