"""Where a completion, a prompt or a group just fits: the last token, the first id, the next batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

import agents
from agents.base import Agent, Completion, SamplingParams
from agents.engine_agent import EngineAgent
from agents.engine_output import EngineOutput, EngineRequest
from agents.text import load_tokenizer
from agents.transformers_agent import TransformersAgent

GREEDY = SamplingParams(temperature=0.0, max_tokens=48)
Prompts = list[list[int]]


def plain_logprobs(reference: TransformersAgent, prompt: Sequence[int], completion: Completion) -> torch.Tensor:
    """[T] of a completion, from one sequence without padding, cache or batch."""
    ids = [*prompt, *completion.token_ids]
    with torch.no_grad():
        logprobs = torch.log_softmax(reference.model(torch.tensor([ids])).logits[0, :-1].float(), dim=-1)
    return logprobs.gather(1, torch.tensor(ids[1:])[:, None])[len(prompt) - 1 :, 0]


def test_an_end_token_in_the_last_place_is_an_end(agent: Agent, prompts: Prompts) -> None:
    groups = agent.generate(prompts[:8], GREEDY)
    ended = [(p, c) for p, [c] in zip(prompts[:8], groups, strict=True) if c.finish_reason == "stop"]
    assert ended
    for prompt, whole in ended[:2]:
        [[just_fits]] = agent.generate([prompt], replace(GREEDY, max_tokens=len(whole.token_ids)))
        assert just_fits.token_ids == whole.token_ids
        assert just_fits.finish_reason == "stop"
        [[cut]] = agent.generate([prompt], replace(GREEDY, max_tokens=len(whole.token_ids) - 1))
        assert cut.token_ids == whole.token_ids[:-1]
        assert cut.finish_reason == "length"


def test_a_prompt_may_leave_room_for_a_single_token(agent: Agent, prompts: Prompts) -> None:
    longest = (prompts[0] * 100)[: agent.max_model_len - 1]
    [[completion]] = agent.generate([longest], GREEDY)
    assert len(completion.token_ids) == 1


@pytest.mark.real_engine
def test_the_id_0_is_a_token_like_any_other(agent: Agent, reference: TransformersAgent, prompts: Prompts) -> None:
    """Padding has it too, and so has the BOS of some models."""
    assert reference.tokenizer.pad_token_id == 0
    mixed = [[0, 0, *prompts[0]], prompts[1], [0, *prompts[2] * 2], [*prompts[3][:5], 0, *prompts[3][5:]]]
    for prompt, [completion] in zip(mixed, agent.generate(mixed, replace(GREEDY, max_tokens=12)), strict=True):
        expected = plain_logprobs(reference, prompt, completion)
        torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-4, rtol=0.0)


@pytest.mark.real_engine
def test_a_stop_text_cuts_ids_and_logprobs_alike(agent: Agent, reference: TransformersAgent, prompts: Prompts) -> None:
    [[whole]] = agent.generate(prompts[:1], replace(GREEDY, max_tokens=24))
    stop = whole.text[len(whole.text) // 2 :][:3]
    [[stopped]] = agent.generate(prompts[:1], replace(GREEDY, max_tokens=24, stop=(stop,)))
    assert len(stopped.token_ids) < len(whole.token_ids)
    expected = plain_logprobs(reference, prompts[0], stopped)
    torch.testing.assert_close(torch.tensor(stopped.logprobs), expected, atol=1e-4, rtol=0.0)


class Talkative:
    """A backend that looks for no stop texts, and always says the same, each token less likely than the one before."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.output = EngineOutput(tuple(ids), tuple(-0.5 * place for place in range(len(ids))), "length")

    def submit(self, requests: Sequence[EngineRequest]) -> None:
        self.numbers = [request.number for request in requests]

    def poll(self, timeout_s: float) -> list[tuple[int, EngineOutput]]:
        return [(number, self.output) for number in self.numbers]


class TalkativeAgent(EngineAgent):
    def start(self, options: dict[str, Any], **timeouts: float) -> Any:
        return Talkative(load_tokenizer(self.folder)(options["text"])["input_ids"])

    def requests(self, prompts: Sequence[Sequence[int]], params: SamplingParams) -> list[dict[str, Any]]:
        return [{}] * len(prompts)


def test_an_engine_that_overlooks_stop_texts_is_cut_back() -> None:
    agent = TalkativeAgent(text="one two three four")
    [[whole]] = agent.generate([[5]], SamplingParams())
    [[completion]] = agent.generate([[5]], SamplingParams(stop=("three",)))
    kept = len(completion.token_ids)
    assert agent.tokenizer.decode(completion.token_ids).endswith("three")
    assert completion.token_ids == whole.token_ids[:kept]
    assert completion.logprobs == whole.logprobs[:kept]
    assert (completion.text, completion.finish_reason) == ("one two ", "stop")


@pytest.mark.parametrize("seed", [None, 7])
def test_a_group_that_takes_several_batches_has_no_two_alike(prompts: Prompts, seed: int | None) -> None:
    """So hot that equal completions mean equal random numbers."""
    params = SamplingParams(n=6, temperature=5.0, max_tokens=6, seed=seed)
    room = len(prompts[0]) + params.max_tokens
    for samples_at_once in (1, 4, 12):
        agent = agents.make("transformers", device="cpu", dtype="float32", max_batch_tokens=samples_at_once * room)
        groups = agent.generate([prompts[0], prompts[0]], params)
        assert [len(group) for group in groups] == [6, 6]
        assert len({completion.token_ids for group in groups for completion in group}) == 12
