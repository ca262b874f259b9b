"""An engine that serves an adapter completes as the model with the adapter merged does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM

import agents
from agents.base import Agent, SamplingParams
from agents.engine_agent import EngineAgent
from agents.models import resolve_model
from agents.sglang_agent import SGLangAgent
from agents.transformers_agent import TransformersAgent
from agents.vllm_agent import VLLMAgent
from agents.weight_sources import Adapter, AdapterFolder, Arrays, RemoteSource
from runners.updating.lora import adapter_config, adapter_weights, add_adapters, merged

RANK = 5  # no size of vLLM's


def adapted(seed: int) -> tuple[Adapter, Arrays]:
    """An adapter of the bundled model, and the model with it merged."""
    model = AutoModelForCausalLM.from_pretrained(resolve_model("tiny"), dtype=torch.float32)
    add_adapters(model, LoraConfig(r=RANK, lora_alpha=10, target_modules="all-linear"), seed)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    parameters = [(name, parameter.detach()) for name, parameter in model.named_parameters()]
    alone = Arrays.of(adapter_weights(parameters))
    return Adapter(specs=alone.specs, weights=alone, config=adapter_config(model)), Arrays.of(merged(model, parameters))


@pytest.fixture
def serving(agent: Agent) -> Iterator[Agent]:
    """Another engine of the same kind, that serves adapters."""
    assert isinstance(agent, EngineAgent)
    if agent.serving_adapter(RANK) is None:
        pytest.skip(f"{agent.engine} is not given adapters alone")
    made = agents.make(agent.engine, dtype="float32", adapter_rank=RANK)
    yield made
    made.close()


@pytest.mark.owned_engine
@pytest.mark.timeout(600)
def test_completions_are_those_of_the_merged_weights(serving: Agent, prompts: list[list[int]]) -> None:
    reference = TransformersAgent("tiny", device="cpu", dtype="float32")
    params = SamplingParams(temperature=0.0, max_tokens=16)
    seen = [[group[0].token_ids for group in serving.generate(prompts[:4], params)]]
    for version in (1, 2):
        adapter, whole = adapted(seed=version)
        serving.load_weights(adapter, version)  # type: ignore[attr-defined]
        reference.load_weights(whole, version)
        completions = [group[0] for group in serving.generate(prompts[:4], params)]
        expected = [group[0] for group in reference.generate(prompts[:4], params)]
        seen.append([completion.token_ids for completion in completions])
        assert seen[-1] == [completion.token_ids for completion in expected]
        for ours, theirs in zip(completions, expected, strict=True):
            torch.testing.assert_close(torch.tensor(ours.logprobs), torch.tensor(theirs.logprobs), rtol=0, atol=1e-5)
            assert ours.policy_version == version
    assert len({str(ids) for ids in seen}) == 3


class Backend:
    def load_weights(self, source: RemoteSource, policy_version: int) -> None:
        assert isinstance(source, AdapterFolder)
        self.config = json.loads((Path(source.folder) / "adapter_config.json").read_text())
        self.given = {name: tensor.clone() for name, tensor in source.tensors()}


def test_an_engine_is_given_a_folder_that_peft_loads() -> None:
    adapter, _ = adapted(seed=1)
    agent = VLLMAgent.__new__(VLLMAgent)
    agent.backend = Backend()  # type: ignore[assignment]
    agent.load_weights(adapter, 3)
    assert agent.backend.given.keys() == {spec.name for spec in adapter.specs}  # type: ignore[union-attr]
    assert agent.backend.config["r"] == RANK and agent.policy_version == 3  # type: ignore[union-attr]


@pytest.mark.parametrize(("rank", "size"), [(1, 1), (5, 8), (8, 8), (100, 128), (512, 512), (1000, 1000)])
def test_vllms_sizes(rank: int, size: int) -> None:
    options = VLLMAgent.__new__(VLLMAgent).serving_adapter(rank)
    assert options == {"enable_lora": True, "max_loras": 1, "max_lora_rank": size}


def test_engines_that_cannot_say_so() -> None:
    with pytest.raises(ValueError, match="The agent 'sglang' takes no adapter alone"):
        SGLangAgent("tiny", adapter_rank=4)
    with pytest.raises(ValueError, match="takes no adapter alone"):
        VLLMAgent("tiny", url="http://127.0.0.1:1", adapter_rank=4)
