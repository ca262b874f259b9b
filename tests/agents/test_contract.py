"""What every agent does, whichever engine it has: one suite over all of them (see conftest.py)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from agents.base import Agent, Completion, SamplingParams
from agents.transformers_agent import TransformersAgent
from agents.transformers_agent.sampling import sampled_logprobs

GREEDY = SamplingParams(temperature=0.0, max_tokens=48)
Prompts = list[list[int]]


def forward_logprobs(
    reference: TransformersAgent, prompt: list[int], completion: Completion, params: SamplingParams
) -> torch.Tensor:
    """Log-probabilities [T] of a completion by one plain forward pass, without cache or batch."""
    ids = torch.tensor([[*prompt, *completion.token_ids]])
    with torch.no_grad():
        logits = reference.model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
    return sampled_logprobs(logits, params).gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]


def ids(groups: list[list[Completion]]) -> list[list[tuple[int, ...]]]:
    return [[completion.token_ids for completion in group] for group in groups]


def test_is_an_agent(agent: Agent) -> None:
    assert isinstance(agent, Agent)
    assert agent.max_model_len > 1
    assert agent.end_token_ids


def test_no_prompts(agent: Agent) -> None:
    assert agent.generate([], SamplingParams()) == []


@pytest.mark.parametrize("length", ["none", "context", "more"])
def test_prompts_that_cannot_be_completed(agent: Agent, prompts: Prompts, length: str) -> None:
    bad = [5] * {"none": 0, "context": agent.max_model_len, "more": agent.max_model_len + 500}[length]
    with pytest.raises(ValueError, match=f"Prompt 1 has {len(bad)} tokens"):
        agent.generate([prompts[0], bad], SamplingParams(max_tokens=2))
    assert len(agent.generate([prompts[0]], SamplingParams(max_tokens=2))) == 1


def test_seeds_are_as_many_as_the_prompts(agent: Agent, prompts: Prompts) -> None:
    assert len(agent.generate(prompts[:2], SamplingParams(max_tokens=2, seed=(1, 2)))) == 2
    with pytest.raises(ValueError, match="holds 3 seeds for 2 prompts"):
        agent.generate(prompts[:2], SamplingParams(max_tokens=2, seed=(1, 2, 3)))


def test_act_is_text_in_text_out(agent: Agent) -> None:
    assert isinstance(agent.act("Tom has 3 pens and buys 4 more. How many pens does he have?"), str)


def test_a_dialogue_goes_on_behind_the_sampled_tokens(agent: Agent, prompts: Prompts) -> None:
    [[first]] = agent.generate(prompts[:1], GREEDY)
    dialogue = [*prompts[0], *first.token_ids]
    message = agent.encode_next(dialogue, "Try again.")
    assert "Try again." in agent.tokenizer.decode(message)
    [[second]] = agent.generate([[*dialogue, *message]], GREEDY)
    assert second.token_ids


def test_unicode(agent: Agent) -> None:
    prompt = agent.encode("Zoë buys 3 🍎 for ¥5 — wie viel? \u200b\u202e")
    [[completion]] = agent.generate([prompt], SamplingParams(max_tokens=30))
    assert completion.text == agent.tokenizer.decode(completion.token_ids, skip_special_tokens=True)


def test_groups_stand_in_the_order_of_the_prompts(agent: Agent, prompts: Prompts) -> None:
    groups = agent.generate(prompts[:5], SamplingParams(n=8, max_tokens=6))
    assert [len(group) for group in groups] == [8] * 5
    for completion in (completion for group in groups for completion in group):
        assert len(completion.token_ids) == len(completion.logprobs) <= 6
        assert completion.policy_version == agent.policy_version


def test_truncation(agent: Agent, prompts: Prompts) -> None:
    [[completion]] = agent.generate(prompts[:1], SamplingParams(temperature=0.0, max_tokens=1))
    assert len(completion.token_ids) == 1
    assert completion.finish_reason == "length"


def test_the_context_ends_a_completion(agent: Agent, prompts: Prompts) -> None:
    room = 3
    prompt = (prompts[0] * 100)[: agent.max_model_len - room]
    groups = agent.generate([prompt, prompts[1]], SamplingParams(n=2, max_tokens=20))
    assert all(1 <= len(completion.token_ids) <= room for completion in groups[0])
    assert any(len(completion.token_ids) > room for completion in groups[1])


def test_a_completion_ends_with_an_end_token_or_is_cut(agent: Agent, prompts: Prompts) -> None:
    params = SamplingParams(max_tokens=60, n=2)
    completions = [completion for group in agent.generate(prompts[:24], params) for completion in group]
    assert {completion.finish_reason for completion in completions} <= {"stop", "length"}
    assert any(completion.finish_reason == "stop" for completion in completions)
    for completion in completions:
        ended = completion.token_ids[-1] in agent.end_token_ids
        assert ended == (completion.finish_reason == "stop")
        assert not set(completion.token_ids[:-1]) & set(agent.end_token_ids)
        assert agent.tokenizer.eos_token not in completion.text
        if not ended:
            assert len(completion.token_ids) == params.max_tokens


def test_stop_ids_end_a_completion_and_stay_in_it(agent: Agent, prompts: Prompts) -> None:
    [[whole]] = agent.generate(prompts[:1], replace(GREEDY, max_tokens=12))
    stop = whole.token_ids[1]
    [[stopped]] = agent.generate(prompts[:1], replace(GREEDY, max_tokens=12, stop_token_ids=(stop,)))
    assert stopped.token_ids == whole.token_ids[: whole.token_ids.index(stop) + 1]
    assert stopped.finish_reason == "stop"


def test_a_stop_text_ends_a_completion_at_the_token_that_completes_it(agent: Agent, prompts: Prompts) -> None:
    params = replace(GREEDY, max_tokens=24)
    for prompt, [whole] in zip(prompts[:4], agent.generate(prompts[:4], params), strict=True):
        stop = whole.text[len(whole.text) // 2 :][:3]
        [[stopped]] = agent.generate([prompt], replace(params, stop=("never seen", stop)))
        assert stopped.text == whole.text[: whole.text.index(stop)]
        assert stop in agent.tokenizer.decode(stopped.token_ids)
        assert stop not in agent.tokenizer.decode(stopped.token_ids[:-1])
        assert stopped.token_ids == whole.token_ids[: len(stopped.token_ids)]
        assert len(stopped.logprobs) == len(stopped.token_ids)
        assert stopped.finish_reason == "stop"


@pytest.mark.real_engine
def test_greedy_completions_equal_those_of_transformers(
    agent: Agent, reference: TransformersAgent, prompts: Prompts
) -> None:
    assert ids(agent.generate(prompts[:32], GREEDY)) == ids(reference.generate(prompts[:32], GREEDY))


@pytest.mark.real_engine
def test_200_prompts_at_once(agent: Agent, reference: TransformersAgent, prompts: Prompts) -> None:
    params = replace(GREEDY, max_tokens=8)
    assert ids(agent.generate(prompts, params)) == ids(reference.generate(prompts, params))


@pytest.mark.real_engine
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_logprobs_are_those_of_the_distribution_sampled_from(
    agent: Agent, reference: TransformersAgent, prompts: Prompts, temperature: float
) -> None:
    params = SamplingParams(n=2, temperature=temperature, max_tokens=40)
    for prompt, group in zip(prompts[:12], agent.generate(prompts[:12], params), strict=True):
        for completion in group:
            expected = forward_logprobs(reference, prompt, completion, params)
            torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-4, rtol=0.0)


@pytest.mark.real_engine
@pytest.mark.parametrize("options", [{"top_k": 4}, {"top_p": 0.8}, {"top_k": 20, "top_p": 0.6}])
def test_logprobs_after_top_k_and_top_p(
    agent: Agent, engine_name: str, reference: TransformersAgent, prompts: Prompts, options: dict[str, float]
) -> None:
    params = SamplingParams(n=2, temperature=0.9, max_tokens=12, **options)  # type: ignore[arg-type]
    if engine_name == "sglang":
        with pytest.raises(ValueError, match="before top-k and top-p"):
            agent.generate(prompts[:1], params)
        return
    for prompt, group in zip(prompts[:8], agent.generate(prompts[:8], params), strict=True):
        for completion in group:
            expected = forward_logprobs(reference, prompt, completion, params)
            torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-4, rtol=0.0)


@pytest.mark.real_engine
@pytest.mark.parametrize("seed", [None, 3])
def test_samples_differ_within_a_group_and_between_equal_prompts(
    agent: Agent, prompts: Prompts, seed: int | None
) -> None:
    # As hot as vLLM allows, so that equal completions mean equal random numbers, not a model that is sure of itself.
    params = SamplingParams(n=8, temperature=2.0, max_tokens=40, seed=seed)
    groups = ids(agent.generate([prompts[0], prompts[0]], params))
    assert all(len(set(group)) >= 4 for group in groups)
    assert groups[0] != groups[1]


@pytest.mark.real_engine
def test_seeds(
    agent: Agent, engine_name: str, prompts: Prompts, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(seed: int | None) -> list[list[tuple[int, ...]]]:
        return ids(agent.generate(prompts[:3], SamplingParams(n=2, max_tokens=30, seed=seed)))

    if engine_name == "sglang":
        monkeypatch.setattr("agents.sglang_agent.sampling._warned", set())
        with caplog.at_level(logging.WARNING):
            draw(1)
        assert "ignores SamplingParams.seed" in caplog.text
        return
    assert draw(11) == draw(11)
    assert draw(11) != draw(12)
    assert draw(None) != draw(None)


@pytest.mark.real_engine
def test_a_completion_depends_on_its_own_seed_alone(agent: Agent, engine_name: str, prompts: Prompts) -> None:
    if engine_name == "sglang":
        pytest.skip("SGLang takes seeds only with enable_deterministic_inference=True")

    def draw(chosen: Sequence[int], seeds: Sequence[int], n: int = 1) -> list[list[tuple[int, ...]]]:
        params = SamplingParams(n=n, max_tokens=30, seed=tuple(seeds))
        return ids(agent.generate([prompts[i] for i in chosen], params))

    places, seeds = range(6), [100, 900, 31, 7, 100, 2**30]
    together = draw(places, seeds, n=4)
    assert len({completion for group in together for completion in group}) > 12
    for place, seed, group in zip(places, seeds, together, strict=True):
        assert draw([place], [seed], n=4) == [group]
        # Completion j has the stream of seed + j.
        assert [draw([place], [seed + j])[0][0] for j in range(4)] == group
    assert draw(places[::-1], seeds[::-1], n=4) == together[::-1]
    assert draw([0] * 4, range(100, 104)) == [[completion] for completion in together[0]]


@pytest.mark.real_engine
def test_weights_are_seen_by_the_next_completion(agent: Agent, prompts: Prompts) -> None:
    changed = TransformersAgent("tiny", device="cpu", dtype="float32")
    original = {name: tensor.clone() for name, tensor in changed.model.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    weights = [
        (name, tensor.detach() + 0.02 * torch.randn(tensor.shape, generator=generator))
        for name, tensor in changed.model.named_parameters()
    ]
    before = ids(agent.generate(prompts[:8], GREEDY))
    version = agent.policy_version
    changed.update_weights(weights, version + 1)
    try:
        # A generator of tensors that require gradients, as a learner hands them over.
        agent.update_weights(((name, tensor.requires_grad_()) for name, tensor in weights), version + 1)
        after = agent.generate(prompts[:8], GREEDY)
        assert ids(after) != before
        assert ids(after) == ids(changed.generate(prompts[:8], GREEDY))
        assert {completion.policy_version for group in after for completion in group} == {version + 1}
    finally:
        agent.update_weights(original.items(), version + 2)
    assert ids(agent.generate(prompts[:8], GREEDY)) == before
    assert agent.policy_version == version + 2


@pytest.mark.real_engine
@pytest.mark.parametrize("fault", ["unknown", "missing", "shape", "dtype"])
def test_weights_that_do_not_fit_change_nothing(
    agent: Agent, reference: TransformersAgent, prompts: Prompts, fault: str
) -> None:
    weights = {name: torch.zeros(parameter.shape) for name, parameter in reference.model.named_parameters()}
    first = next(iter(weights))
    if fault == "unknown":
        weights["lm_head.extra"] = torch.zeros(3)
    elif fault == "missing":
        del weights[first]
    elif fault == "shape":
        weights[first] = torch.zeros(3, 5)
    else:
        weights[first] = weights[first].int()
    version = agent.policy_version
    with pytest.raises(ValueError, match="nothing was changed"):
        agent.update_weights(weights.items(), version + 1)
    assert agent.policy_version == version
    assert ids(agent.generate(prompts[:4], GREEDY)) == ids(reference.generate(prompts[:4], GREEDY))
