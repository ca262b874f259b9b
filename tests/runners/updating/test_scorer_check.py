"""What the scorer's own comparison with the model finds, and what comes of it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from runners.objectives.objective import ObjectiveConfig
from runners.settings import PolicySettings, UpdateSettings
from runners.updating.model import make_reference, make_scorer
from runners.updating.scorer import Scorer
from runners.updating.scorer_check import ScorerCheck
from runners.updating.updater import Updater
from tests.runners.updating.families import WINDOW, save_model


@pytest.fixture(autouse=True)
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, logger="runners")
    return caplog


def scorer(family: str, folder: Path, **update: bool) -> Scorer:
    policy = PolicySettings(policy_model=str(save_model(family, folder)))
    return make_scorer(policy, UpdateSettings(**update), temperature=1.0, value_head=False)


def test_prompts_are_shared_up_to_the_length_that_was_compared(tmp_path: Path) -> None:
    policy = scorer("Llama", tmp_path)
    check = ScorerCheck([policy], group_size=4)
    check.cover(40)
    assert policy.row_limit(torch.tensor([40, 9])) == policy.max_row_tokens == 128
    assert policy.row_limit(torch.tensor([41, 9])) is None
    check.cover(41)  # at once a good deal longer
    assert policy.shared_tokens == 80
    check.cover(10_000)  # the context has no more
    assert policy.shared_tokens == 256


def test_a_window_is_found_once_sequences_are_longer(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    policy = scorer("Mistral", tmp_path)
    reference = make_reference(policy, PolicySettings(), UpdateSettings())
    check = ScorerCheck([policy, reference], group_size=4)
    check.cover(WINDOW)
    assert policy.shared_tokens == reference.shared_tokens == WINDOW
    assert not warnings.messages
    check.cover(WINDOW + 1)
    check.cover(4 * WINDOW)
    assert policy.shared_tokens == reference.shared_tokens == WINDOW
    [message] = warnings.messages
    assert f"For steps with more than {WINDOW} tokens in a sequence the learner takes share_prompts=False" in message


def test_places_in_a_row_are_found_though_the_sequences_are_short(tmp_path: Path) -> None:
    policy = scorer("GPT-Neo", tmp_path)
    ScorerCheck([policy], group_size=8).cover(WINDOW - 1)
    assert policy.shared_tokens == 0


def test_nothing_is_shared_where_nobody_asked_for_it(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    policy = scorer("Mistral", tmp_path, share_prompts=False)
    ScorerCheck([policy], group_size=4).cover(64)
    assert policy.shared_tokens == 0
    assert not warnings.messages


def test_weights_that_are_broken(tmp_path: Path) -> None:
    policy = scorer("Llama", tmp_path)
    with torch.no_grad():
        policy.model.get_output_embeddings().weight[7, 7] = torch.nan
    with pytest.raises(ValueError, match=r"\(LlamaForCausalLM\) gives log-probs that are not finite"):
        ScorerCheck([policy], group_size=4).cover(64)


def test_a_comparison_leaves_no_trace(tmp_path: Path) -> None:
    policy = scorer("Llama", tmp_path)
    state, limit = torch.get_rng_state(), policy.max_row_tokens
    ScorerCheck([policy], group_size=4).cover(64)
    assert torch.equal(torch.get_rng_state(), state)
    assert policy.max_row_tokens == limit
    assert all(parameter.grad is None for parameter in policy.parameters())


def test_passes_have_room_for_rows_of_their_own(tmp_path: Path) -> None:
    policy = scorer("Mistral", tmp_path)
    update = UpdateSettings(micro_batch_tokens=100)
    updater = Updater(policy, [], update, ObjectiveConfig())
    columns = {
        "token_ids": torch.full((4, 50), 9),
        "loss_mask": torch.arange(50).expand(4, 50) >= 40,
        "lengths": torch.full((4,), 50),
    }
    assert [len(rows) for rows, _ in updater._passes(columns)] == [4]  # 40 + 4 * 10 tokens
    ScorerCheck([policy], group_size=4).cover(64)
    assert [len(rows) for rows, _ in updater._passes(columns)] == [2, 2]
