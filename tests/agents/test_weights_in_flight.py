"""Weights that come while completions are open, where an agent takes them then."""

import pytest
import torch

from agents import SamplingParams
from agents.engine_output import EngineOutput
from agents.transformers_agent import TransformersAgent
from agents.vllm_agent import VLLMAgent
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


@pytest.mark.owned_engine
@pytest.mark.timeout(600)
def test_an_engine_goes_on_under_new_weights(agent):
    """Behind the change its log-probs are the new weights' own: it computes the keys anew."""
    reference = TransformersAgent("tiny", device="cpu", dtype="float32")
    weights = {name: parameter.detach().clone() for name, parameter in reference.model.named_parameters()}
    if not agent.loads_in_flight:
        pytest.skip(f"{agent.engine} takes no weights while completions are open")
    new = {name: tensor * 1.1 if "q_proj" in name else tensor for name, tensor in weights.items()}
    prompt = agent.encode("What is 2 + 3?")
    sampling = SamplingParams(max_tokens=600, temperature=2.0, seed=1)
    numbers = [number for [number] in agent.submit([prompt] * 64, sampling)]
    ended = agent.poll(30.0)  # the first have ended, the others are open
    agent.load_weights(Arrays.of(new.items()), 3)
    while not ended.keys() >= set(numbers):
        arrived = agent.poll(30.0)
        assert arrived
        ended |= arrived
    agent.load_weights(Arrays.of(weights.items()), 4)
    changed = [completion for completion in ended.values() if len(set(completion.policy_versions)) == 2]
    assert changed
    for completion in changed:
        versions = torch.tensor(completion.policy_versions)
        before = int((versions != 3).sum())
        assert versions.tolist() == [versions[0]] * before + [3] * (len(versions) - before)
        assert completion.policy_version == min(completion.policy_versions)
        ids = torch.tensor([[*prompt, *completion.token_ids]])
        for named, part in ((weights, slice(before)), (new, slice(before, None))):
            reference.load_weights(Arrays.of(named.items()), 0)
            with torch.no_grad():
                logits = reference.model(input_ids=ids).logits[0, len(prompt) - 1 : -1] / 2.0
            logprobs = logits.log_softmax(-1).gather(1, ids[0, len(prompt) :, None])[:, 0]
            torch.testing.assert_close(torch.tensor(completion.logprobs)[part], logprobs[part], rtol=0, atol=1e-4)


def test_a_stop_text_cuts_versions_too():
    output = EngineOutput((5, 6, 7), (-0.1, -0.2, -0.3), "length", (1, 1, 2))
    assert output.cut(2) == EngineOutput((5, 6), (-0.1, -0.2), "stop", (1, 1))


def test_no_server_is_asked_to(monkeypatch):
    class Server:
        max_model_len = 100

    monkeypatch.setattr(VLLMAgent, "connect", lambda *arguments, **options: Server())
    assert VLLMAgent.loads_in_flight and not VLLMAgent("tiny", url="http://127.0.0.1:1").loads_in_flight
