"""Adapters on one small model, by hand."""

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from runners.settings import LoraSettings, PolicySettings, UpdateSettings
from runners.updating.lora import (
    WithoutAdapters,
    adapter_config,
    adapter_weights,
    base_parameters,
    lora_config,
    merged,
    write_adapter,
)
from runners.updating.model import make_reference, make_scorer, trained_parameters
from tests.runners.updating.families import save_model

LORA = LoraSettings(lora_rank=2, lora_alpha=6.0, lora_targets="q_proj, v_proj")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model("Llama", tmp_path_factory.mktemp("llama"))


def scorer(folder, lora=LORA, **changes):
    policy = PolicySettings(policy_model=str(folder))
    made = make_scorer(policy, UpdateSettings(), lora, temperature=1.0, value_head=False, **changes)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in made.model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return made


def batch():
    ids = torch.randint(4, 500, (2, 8), generator=torch.Generator().manual_seed(1))
    return {"token_ids": ids, "loss_mask": torch.arange(8).expand(2, 8) >= 4, "lengths": torch.tensor([8, 8])}


def test_peft_gets_the_settings():
    config = lora_config(LORA, "a/base")
    assert (config.r, config.lora_alpha, config.target_modules) == (2, 6.0, {"q_proj", "v_proj"})
    assert (config.base_model_name_or_path, config.task_type) == ("a/base", "CAUSAL_LM")
    config = lora_config(LoraSettings(lora_rank=3), "b")
    assert (config.r, config.lora_alpha, config.target_modules) == (3, 6.0, "all-linear")


def test_the_policy_is_base_and_three_times_b_a(folder):
    policy, base = scorer(folder), AutoModelForCausalLM.from_pretrained(folder).state_dict()
    parts = dict(policy.model.named_parameters())
    found = dict(merged(policy.model, parts.items()))
    assert found.keys() == {name for name, _ in base_parameters(policy.model)} == base.keys()
    for name, tensor in found.items():
        layer = name.removesuffix(".weight")
        expected = base[name]
        if layer.endswith(("q_proj", "v_proj")):
            a, b = (parts[f"{layer}.lora_{part}.default.weight"] for part in "AB")
            expected = expected + 3.0 * b @ a
            assert not torch.equal(expected, base[name])
        torch.testing.assert_close(tensor, expected)


def test_only_adapters_are_trained_and_their_seed_decides_them(folder):
    state = torch.get_rng_state()
    first, same, other = (scorer(folder, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    names = [name for name, p in first.model.named_parameters() if p.requires_grad]
    assert names and all("lora_" in name for name in names)
    assert len(list(trained_parameters(first.model))) == len(names) == 8  # A and B of two layers in each of two blocks
    a = [dict(policy.model.named_parameters())[names[0]] for policy in (first, same, other)]
    assert torch.equal(a[0], a[1]) and not torch.equal(a[0], a[2])


def test_the_reference_is_the_base_and_the_adapters_are_on_again(folder):
    policy = scorer(folder)
    before = policy(batch())["logprobs"].detach()
    reference = make_reference(policy, PolicySettings(policy_model=str(folder)), UpdateSettings(), LORA)
    assert isinstance(reference, WithoutAdapters)
    plain = scorer(folder, LoraSettings())(batch())["logprobs"].detach()
    torch.testing.assert_close(reference(batch(), with_entropy=False)["logprobs"].detach(), plain)
    assert not torch.allclose(before, plain) and torch.equal(policy(batch())["logprobs"].detach(), before)
    with pytest.raises(KeyError):
        reference({})
    assert torch.equal(policy(batch())["logprobs"].detach(), before)


def test_peft_loads_what_is_written(folder, tmp_path):
    policy = scorer(folder)
    weights = dict(adapter_weights(policy.model.named_parameters()))
    assert len(weights) == 8
    for _ in range(2):  # over an older one too
        write_adapter(tmp_path / "a" / "adapter", weights, lora_config(LORA, str(folder)))
    loaded = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), tmp_path / "a" / "adapter")
    ids = batch()["token_ids"]
    torch.testing.assert_close(loaded(ids).logits, policy.model(ids).logits)


@pytest.mark.parametrize("targets", ["lm_head", "q_proj,embed_tokens"])
def test_layers_outside_of_the_blocks_are_refused(folder, targets):
    with pytest.raises(ValueError, match="are not linear layers of the blocks"):
        scorer(folder, LoraSettings(lora_rank=2, lora_targets=targets))


def test_adapters_beside_a_narrow_base(folder):
    policy = PolicySettings(policy_model=str(folder), dtype="bfloat16")
    model = make_scorer(policy, UpdateSettings(), LORA, temperature=1.0, value_head=False).model
    types = {name: p.dtype for name, p in model.named_parameters()}
    assert {t for name, t in types.items() if "lora_" in name} == {torch.float32}
    assert {t for name, t in types.items() if "lora_" not in name} == {torch.bfloat16}
    found = dict(merged(model, model.named_parameters()))
    assert {tensor.dtype for tensor in found.values()} == {torch.bfloat16}


def test_an_engine_is_told_of_adapters_that_are_not_trained(folder):
    told = adapter_config(scorer(folder).model)
    assert (told["r"], told["lora_alpha"], told["target_modules"]) == (2, 6.0, ["q_proj", "v_proj"])
    assert told["inference_mode"] is True
