"""What RLlib keeps of the policy."""

import torch

from runners.rllib.rl_module import PLACEHOLDER_SPACE, TextPolicyModule
from runners.settings import PolicySettings, UpdateSettings


def module(value_head=False):
    config = {"policy": PolicySettings(), "update": UpdateSettings(), "temperature": 1.0, "value_head": value_head}
    return TextPolicyModule(observation_space=PLACEHOLDER_SPACE, action_space=PLACEHOLDER_SPACE, model_config=config)


def test_state_round_trip():
    first, second = module(), module()
    with torch.no_grad():
        for parameter in first.scorer.model.parameters():
            parameter.add_(0.5)
    second.set_state(first.get_state())
    for ours, theirs in zip(first.scorer.model.parameters(), second.scorer.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_value_head_is_part_of_the_state_but_not_of_what_engines_get():
    first, second = module(value_head=True), module(value_head=True)
    with torch.no_grad():
        first.scorer.vf_head.weight.fill_(0.25)
    second.set_state(first.get_state())
    assert (second.scorer.vf_head.weight == 0.25).all()
    plain = module()
    assert dict(first.scorer.model.named_parameters()).keys() == plain.get_state().keys()
    assert first.get_state().keys() - plain.get_state().keys() == {"vf_head.weight", "vf_head.bias"}
