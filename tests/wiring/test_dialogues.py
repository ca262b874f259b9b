"""What the engine is asked to go on from, and which prompts it is asked at all."""

import pytest

from agents.text import TextAgent
from tests.wiring.scripted import last_message, question
from tests.wiring.scripts import GRADED, TALKS

BOS = 0


@pytest.fixture
def talk(start):
    run = start(script=TALKS)
    run.algo.train()
    return run.agent


def later_turns(agent):
    return [
        (prompt, last_message(agent.tokenizer, prompt))
        for call in agent.calls
        for prompt in call.prompts
        if last_message(agent.tokenizer, prompt).startswith("After")
    ]


def test_a_dialogue_goes_on_from_the_ids_that_were_sampled(talk):
    spoken = {
        completion.text: (*prompt, *completion.token_ids)
        for call in talk.calls
        for prompt, group in zip(call.prompts, call.groups, strict=True)
        for completion in group
    }
    turns = later_turns(talk)
    assert len(turns) == 6
    for prompt, message in turns:
        so_far = spoken[message.removeprefix("After ")]
        assert prompt[: len(so_far)] == so_far
        assert talk.tokenizer.decode(prompt[len(so_far) :]) == f"<|user|>{message}<|end|><|assistant|>"
        # Encoded anew the same text has other ids.
        assert talk.tokenizer(talk.tokenizer.decode(so_far), add_special_tokens=False)["input_ids"] != list(so_far)


def test_one_bos_in_a_dialogue(talk):
    for prompt, _ in later_turns(talk):
        assert prompt[0] == BOS and BOS not in prompt[1:]


def test_a_prompt_of_exactly_the_limit_is_sampled(start, model_folder):
    limit = len(TextAgent(model_folder, max_model_len=256).encode(question(1)))
    run = start({"num_prompts": 2, "max_prompt_tokens": limit}, script=GRADED)
    step = run.step()
    assert {episode.problem for episode in step.episodes} == {question(0), question(1)}
    assert max(episode.prompt_length for episode in step.episodes) == limit
    assert step.rollouts["num_dropped_prompts"] in (0, 1, 2)  # as the order of the problems has it
