import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from agents.models import resolve_model
from runners.settings import CriticSettings, PolicySettings, UpdateSettings
from runners.updating import model
from runners.updating.model import make_optimizers, make_reference, make_scorer


def scorer(model, *, temperature=1.0, share_prompts=True, value_head=False):
    update = UpdateSettings(max_logits=2**20, share_prompts=share_prompts)
    return make_scorer(PolicySettings(policy_model=str(model)), update, temperature=temperature, value_head=value_head)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    lengths = torch.tensor([9, 12, 7])
    loss_mask = torch.zeros(3, 12, dtype=torch.bool)
    for row, length in enumerate(lengths):
        loss_mask[row, 4:length] = True
    return {"token_ids": torch.as_tensor(rng.integers(4, 500, (3, 12))), "loss_mask": loss_mask, "lengths": lengths}


def edited_checkpoint(folder, **changes):
    shutil.copytree(resolve_model("tiny"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def without_a_layer(path):
    weights = load_file(path)
    save_file({name: array for name, array in weights.items() if ".layers.1." not in name}, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("changes", "spoil", "message"),
    [
        (
            {},
            without_a_layer,
            r"missing, or of another shape, are model\.layers\.1\.input_layernorm\.weight, .* 6 more",
        ),
        ({"vocab_size": 100}, lambda path: None, r"missing, or of another shape, are model\.embed_tokens\.weight\."),
        ({}, lambda path: path.rename(path.with_name("pytorch_model.bin")), "cannot be loaded: "),
    ],
)
def test_weights_that_are_not_the_models_are_not_drawn_at_random(tmp_path, capfd, changes, spoil, message):
    folder = edited_checkpoint(tmp_path / "model", **changes)
    spoil(folder / "model.safetensors")
    capfd.readouterr()
    with pytest.raises(ValueError, match=message) as error:
        scorer(folder)
    assert str(folder) in str(error.value) and "\n" not in str(error.value) and "REPORT" not in capfd.readouterr().err


def test_c21_dropout_is_off_in_training_too(tmp_path, batch):
    with_dropout = scorer(edited_checkpoint(tmp_path / "model", attention_dropout=0.9))
    expected = scorer("tiny")(batch)["logprobs"]
    for _ in range(2):
        torch.testing.assert_close(with_dropout(batch)["logprobs"], expected)


def test_c9_scores_equal_one_unpadded_sequence_at_a_time(batch):
    policy = scorer("tiny", temperature=0.7)
    ours = policy(batch)["logprobs"]
    for row, length in enumerate(batch["lengths"]):
        ids = batch["token_ids"][row : row + 1, :length]
        expected = torch.log_softmax(policy.model(ids).logits[0, :-1] / 0.7, dim=-1)
        expected = expected.gather(1, ids[0, 1:, None])[:, 0]
        torch.testing.assert_close(ours[row, 4:length], expected[3:], rtol=1e-5, atol=1e-5)
        assert (ours[row, length:] == 0).all() and (ours[row, :4] == 0).all()


def test_sharing_prompts_changes_no_score(batch):
    batch["token_ids"][:, :4] = batch["token_ids"][0, :4]  # one group
    shared, apart = (scorer("tiny", share_prompts=s)(batch) for s in (True, False))
    for name in ("logprobs", "entropies"):
        torch.testing.assert_close(shared[name], apart[name], rtol=1e-5, atol=1e-5)


def test_values_are_the_heads_on_the_token_before_and_sharing_prompts_changes_none(batch):
    batch["token_ids"][:, :4] = batch["token_ids"][0, :4]  # one group
    policies = [scorer("tiny", share_prompts=shared, value_head=True) for shared in (True, False)]
    for policy in policies:
        assert not policy(batch, with_values=True)["values"].any()  # zero at the start
        with torch.no_grad():
            policy.vf_head.weight.copy_(torch.linspace(-1, 1, policy.vf_head.in_features)[None])
            policy.vf_head.bias.fill_(0.5)
    shared, apart = (policy(batch, with_values=True)["values"] for policy in policies)
    torch.testing.assert_close(shared, apart, rtol=1e-5, atol=1e-4)
    for row, length in enumerate(batch["lengths"]):
        hidden = policies[0].model.base_model(batch["token_ids"][row : row + 1, :length]).last_hidden_state[0]
        expected = hidden @ policies[0].vf_head.weight[0] + 0.5
        torch.testing.assert_close(shared[row, 4:length], expected[3:-1], rtol=1e-5, atol=1e-4)
        assert (shared[row, length:] == 0).all() and (shared[row, :4] == 0).all()


def test_the_optimizers_by_their_settings():
    update = UpdateSettings(
        lr=[[0, 0.5], [10, 0.1]], adam_betas=(0.1, 0.2), adam_epsilon=0.3, weight_decay=0.4, share_prompts=False
    )
    policy = scorer("tiny", value_head=True)
    assert list(make_optimizers(scorer("tiny"), update, CriticSettings())) == ["default_optimizer"]
    optimizers = make_optimizers(policy, update, CriticSettings(vf_lr=0.7))
    assert list(optimizers) == ["default_optimizer", "vf_head"]
    for (optimizer, lr), parameters, initial, expected in zip(
        optimizers.values(), (policy.model, policy.vf_head), (0.5, 0.7), (update.lr, 0.7), strict=True
    ):
        [group] = optimizer.param_groups
        assert isinstance(optimizer, torch.optim.AdamW) and lr == expected
        assert [group[name] for name in ("lr", "betas", "eps", "weight_decay")] == [initial, (0.1, 0.2), 0.3, 0.4]
        assert [id(p) for p in group["params"]] == [id(p) for p in parameters.parameters()]


def test_a_scorer_by_its_settings():
    update = UpdateSettings(max_logits=77, share_prompts=False, gradient_checkpointing=True)
    made = make_scorer(PolicySettings(dtype="bfloat16"), update, temperature=0.3, value_head=True)
    assert (made.temperature, made.max_logits, made.shared_tokens) == (0.3, 77, 0)
    assert made.model.dtype == torch.bfloat16 and made.vf_head.weight.dtype == torch.float32
    assert made.model.is_gradient_checkpointing and made.model.base_model.layers[0].training
    made = scorer("tiny")
    assert made.vf_head is None and made.shared_tokens > 2**60 and not made.model.is_gradient_checkpointing


def test_a_reference_is_a_frozen_copy():
    policy = scorer("tiny", temperature=0.7)
    reference = make_reference(policy, PolicySettings(), UpdateSettings())
    assert not any(p.requires_grad for p in reference.parameters())
    assert all(p.requires_grad for p in policy.parameters()) and reference.temperature == 0.7
    with torch.no_grad():
        next(policy.parameters()).add_(1)
    assert not torch.equal(next(policy.parameters()), next(reference.parameters()))


@pytest.mark.parametrize(("sharded", "rank", "loads"), [(False, 1, True), (True, 0, True), (True, 1, False)])
def test_sharded_ranks_but_rank_0_get_no_weights(monkeypatch, sharded, rank, loads):
    asked, load_model = {}, model.load_model

    def noting(name):
        def noted(source, **options):
            asked[name] = options
            return load_model(source, **options)

        return noted

    monkeypatch.setattr(model, "load_model", noting("load"))
    monkeypatch.setattr(model, "empty_model", noting("empty"))
    monkeypatch.setattr(model, "is_rank_0", lambda: rank == 0)
    policy = PolicySettings(trust_remote_code=True, dtype="bfloat16")
    make_scorer(policy, UpdateSettings(fully_shard=sharded), temperature=1.0, value_head=False)
    assert asked == {"load" if loads else "empty": {"dtype": torch.bfloat16, "trust_remote_code": True}}
