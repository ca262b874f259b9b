"""What the scorer's own comparison with the model finds, and what comes of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from runners.objectives.objective import ObjectiveConfig
from runners.objectives.packing import MOST_ROW_TOKENS
from runners.settings import PolicySettings, UpdateSettings
from runners.updating.model import make_reference, make_scorer
from runners.updating.scorer import Batch, Scorer
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
    assert policy.row_limit(torch.tensor([40, 9])) == policy.max_row_tokens == MOST_ROW_TOKENS
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


def test_what_is_compared_by_hand(tmp_path: Path) -> None:
    policy = scorer("Llama", tmp_path)
    policy.max_row_tokens = 128
    check = ScorerCheck([policy], group_size=8)
    # Of 40 tokens a quarter is the prompt. 128 - 40 have room for two more completions of 30 in the row.
    batch = check._batch(40)
    assert batch["lengths"].tolist() == [40, 40, 40] and batch["token_ids"].shape == (3, 40)
    assert len({tuple(ids[:10].tolist()) for ids in batch["token_ids"]}) == 1
    assert len({tuple(ids[10:].tolist()) for ids in batch["token_ids"]}) == 3
    assert batch["loss_mask"][:, 10:].all() and not batch["loss_mask"][:, :10].any()
    # A long one leaves 64 tokens for another, of which beginning and end are compared: 512 * 20 logits, ten at each.
    policy.max_logits = 512 * 20
    batch = check._batch(200)
    assert batch["lengths"].tolist() == [200, 50 + 64]
    places = [mask.nonzero()[:, 0].tolist() for mask in batch["loss_mask"]]
    assert places == [[*range(50, 60), *range(190, 200)], [*range(50, 60), *range(104, 114)]]
    # However few logits there may be, and however short the sequences.
    policy.max_logits = 1
    assert check._batch(200)["loss_mask"].sum(1).tolist() == [6, 6]
    assert check._batch(2)["lengths"].tolist() == [2] * 8
    assert ScorerCheck([policy], group_size=1)._batch(40)["lengths"].tolist() == [40, 40]


@pytest.mark.parametrize(("tokens", "fault"), [(2, None), (3, "are off the model's own by 0.5 nats (allowed: 0.001)")])
@pytest.mark.parametrize("row", [0, -1])
def test_single_tokens_may_be_off_a_run_of_three_may_not(tmp_path: Path, tokens: int, fault: str, row: int) -> None:
    policy = scorer("Llama", tmp_path)
    check = ScorerCheck([policy], group_size=4)
    batch = check._batch(40)
    own = policy.model_logprobs({name: column[[0, -1]] for name, column in batch.items()}).detach()
    forward = policy.forward

    def shifted(batch: Batch, **kwargs: Any) -> Batch:
        logprobs = forward(batch, **kwargs)["logprobs"].detach()
        logprobs[row, 20 : 20 + tokens] -= 0.5
        logprobs[row, 30 : 30 + tokens] += 0.5
        return {"logprobs": logprobs}

    policy.forward = shifted
    assert check._fault(batch, own, shared_tokens=40) == fault


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_rounding_in_a_type_and_what_is_not(tmp_path: Path, dtype: torch.dtype) -> None:
    policy = scorer("Llama", tmp_path)
    policy.model.to(dtype)
    check = ScorerCheck([policy], group_size=4)
    batch = check._batch(40)
    own = policy.model_logprobs({name: column[[0, -1]] for name, column in batch.items()}).detach()
    with torch.no_grad():
        assert check._fault(batch, own, shared_tokens=40) is None
        assert "are off the model's own by" in str(check._fault(batch, own - 0.6, shared_tokens=40))


def test_the_end_of_a_short_completion_behind_a_long_one_is_compared(tmp_path: Path) -> None:
    policy = scorer("Llama", tmp_path)
    policy.max_row_tokens, policy.max_logits = 128, 512 * 20
    check = ScorerCheck([policy], group_size=8)
    batch = check._batch(200)
    own = policy.model_logprobs({name: column[[0, -1]] for name, column in batch.items()}).detach()
    end = int(batch["lengths"][-1])
    own[-1, end - 3 : end] -= 0.5
    with torch.no_grad():
        assert "are off the model's own by 0.5 nats" in str(check._fault(batch, own, shared_tokens=200))


def test_the_models_own_log_probs_are_at_the_policys_temperature(tmp_path: Path) -> None:
    policy = scorer("Llama", tmp_path)
    policy.temperature = 0.5
    batch = ScorerCheck([policy], group_size=4)._batch(20)
    found = policy.model_logprobs(batch)
    ids = batch["token_ids"][1:2, : batch["lengths"][1]]
    expected = torch.log_softmax(policy.model(ids).logits[0] / 0.5, dim=-1)
    for place in range(20):
        own = bool(batch["loss_mask"][1, place])
        assert float(found[1, place]) == pytest.approx(
            float(expected[place - 1, ids[0, place]]) if own else 0, abs=1e-5
        )
