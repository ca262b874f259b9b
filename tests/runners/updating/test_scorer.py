import pytest
import torch

from agents.models import resolve_model
from agents.transformers_agent.loading import load_model
from runners.updating.scorer import Scorer, blocks


def scorer(**settings):
    model = load_model(resolve_model("tiny"), dtype=torch.float32)
    return Scorer(model, temperature=1.0, max_logits=2**20, share_prompts=True, **settings)


def scored(policy):
    generator = torch.Generator().manual_seed(0)
    token_ids = torch.randint(4, 500, (3, 16), generator=generator)
    loss_mask = torch.zeros(3, 16, dtype=torch.bool)
    loss_mask[:, 6:] = True
    return policy({"token_ids": token_ids, "loss_mask": loss_mask, "lengths": torch.tensor([16, 16, 16])})


class TestGradientCheckpointing:
    def test_the_gradient_is_the_same(self):
        gradients = []
        for checkpointing in (False, True):
            policy = scorer(gradient_checkpointing=checkpointing)
            scored(policy)["logprobs"].sum().backward()
            gradients.append([parameter.grad for parameter in policy.parameters()])
        for plain, checkpointed in zip(*gradients, strict=True):
            assert torch.equal(plain, checkpointed)

    @pytest.mark.parametrize(("checkpointing", "passes"), [(False, 1), (True, 2)])
    def test_blocks_run_again_in_the_backward_pass(self, checkpointing, passes):
        policy = scorer(gradient_checkpointing=checkpointing)
        calls = []
        for block in blocks(policy.model):
            block.mlp.register_forward_pre_hook(lambda module, inputs: calls.append(module))
        scored(policy)["logprobs"].sum().backward()
        assert len(calls) == passes * len(blocks(policy.model))

    def test_dropout_stays_off(self):
        policy = scorer(gradient_checkpointing=True).train()
        training = {name for name, module in policy.named_modules() if module.training}
        assert training == {f"model.model.layers.{i}" for i in range(len(blocks(policy.model)))}


def test_a_model_that_names_no_blocks(monkeypatch):
    model = scorer().model
    monkeypatch.setattr(type(model), "_no_split_modules", None)
    monkeypatch.setattr(model, "_no_split_modules", None, raising=False)
    with pytest.raises(ValueError, match="does not say which of its modules are blocks: train it with fully_shard"):
        blocks(model)
