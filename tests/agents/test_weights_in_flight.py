"""Weights that come while completions are open, where an agent takes them then."""

import torch

from agents import SamplingParams
from agents.transformers_agent import TransformersAgent
from agents.weight_sources import Arrays


def test_a_completion_goes_on_under_new_weights_and_says_which_drew_each_token():
    """A token's log-prob is that of the old weights up to the change, and of the new ones behind it."""
    agent = TransformersAgent("tiny")
    prompt = agent.encode("What is 2 + 3?")
    old = {name: parameter.detach().clone() for name, parameter in agent.model.named_parameters()}
    new = {name: tensor * 1.1 if "q_proj" in name else tensor for name, tensor in old.items()}
    [[number]] = agent.submit([prompt], SamplingParams(max_tokens=12, temperature=2.0, seed=1))
    ended = [agent.poll() for _ in range(4)]
    agent.load_weights(Arrays.of(new.items()), 3)
    while number not in ended[-1]:
        ended.append(agent.poll())
    completion = ended[-1][number]
    # The logits of the fifth token were there before the weights came.
    versions = completion.policy_versions
    assert versions == (0,) * 5 + (3,) * (len(versions) - 5) and len(versions) > 6
    assert completion.policy_version == 0
    for weights in (old, new):
        with torch.no_grad():
            for name, parameter in agent.model.named_parameters():
                parameter.copy_(weights[name])
            ids = torch.tensor([[*prompt, *completion.token_ids]])
            logits = agent.model(input_ids=ids).logits[0, len(prompt) - 1 : -1] / 2.0
        logprobs = logits.log_softmax(-1).gather(1, ids[0, len(prompt) :, None])[:, 0]
        close = torch.isclose(logprobs, torch.tensor(completion.logprobs), atol=1e-4)
        assert close[:5].all() == (weights is old)


def test_every_token_of_one_version_needs_no_list():
    agent = TransformersAgent("tiny")
    agent.load_weights(Arrays.of((name, p.detach()) for name, p in agent.model.named_parameters()), 4)
    [[completion]] = agent.generate([agent.encode("What is 2 + 3?")], SamplingParams(max_tokens=5, seed=0))
    assert completion.policy_version == 4 and completion.policy_versions == ()
