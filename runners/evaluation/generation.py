"""From problems to completions, a batch at a time, so that a killed run goes on where it was."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from agents import Agent
from runners.evaluation.config import EvaluationConfig
from runners.evaluation.prompts import Prompt
from runners.evaluation.samples import Sample
from runners.sampling.environments import Environments, reset_alike
from runners.sampling.problems import evaluation_resets
from runners.sampling.rollout import GroupReset, Rollout, SampleRequest
from runners.sampling.sampler import Sampler

DEFAULT_PROBLEMS = 200


def evaluation_problems(environments: Environments, count: int | None) -> list[GroupReset]:
    """Returns `count` problems, the same at every call: those that training with `runners/grpo.py` evaluates on.

    Each group has the number of its problem in the environment's list, so that its completions' random numbers do not
    depend on which others are evaluated.

    Args:
        environments: That of evaluation is asked how many problems it has.
        count: None takes all of a finite list, and 200 of an endless environment.

    Raises:
        ValueError: If `count` is below 1.
    """
    if count is not None and count < 1:
        raise ValueError(f"--num-problems {count}: it must be at least 1.")
    available = environments.num_problems("eval")
    resets = evaluation_resets(available, count or available or DEFAULT_PROBLEMS)
    return [replace(reset, group_id=reset.options["index"]) if reset.options else reset for reset in resets]


def encoder(agent: Agent, prompt: Prompt) -> Callable[[str], Sequence[int]]:
    """Returns the function from an observation to the prompt's token ids.

    A chat prompt goes through the model's chat template, a few-shot text through the tokenizer alone, with the tokens
    it puts before any text.
    """
    if prompt.is_chat:
        return agent.encode
    return lambda observation: agent.tokenizer(prompt.render(observation))["input_ids"]


def prompt_lengths(
    environments: Environments,
    problems: Sequence[GroupReset],
    encode: Callable[[str], Sequence[int]],
    max_model_len: int,
) -> list[int]:
    """Returns the tokens of every prompt: [N].

    Raises:
        ValueError: If a prompt leaves no room in the context; said before anything is generated.
    """
    env = environments.first("eval")
    lengths = [len(encode(reset_alike([env], reset)[0])) for reset in problems]
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    if lengths[longest] >= max_model_len:
        raise ValueError(
            f"The prompt of problem {problems[longest].group_id} has {lengths[longest]} tokens, but the model's "
            f"context is {max_model_len}: choose a shorter --prompt (fewer examples), or a longer context "
            "(--engine-option max_model_len=...) if the model has one."
        )
    return lengths


def generate_batches(
    sampler: Sampler,
    config: EvaluationConfig,
    problems: Sequence[GroupReset],
    first: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[list[Sample]]:
    """Yields the samples of each batch from number `first` on.

    A completion's random numbers follow from the seed, its problem's number and its own alone. So a run that was killed
    and resumed gives the completions of one that was not, and the size of the batches changes none.
    """
    for batch, places in list(enumerate(config.batches))[first:]:
        started = clock()
        request = SampleRequest(
            resets=[problems[place] for place in places], sampling=config.sampling, seed=config.seed, env="eval"
        )
        rollouts = sampler.sample(request).rollouts
        seconds = round(clock() - started, 6)
        yield [_sample(rollout, place % config.n, batch, seconds) for place, rollout in enumerate(rollouts)]


def _sample(rollout: Rollout, number: int, batch: int, seconds: float) -> Sample:
    return Sample(
        index=rollout.group_id,
        sample=number,
        question=rollout.info.get("question", rollout.observation),
        ground_truth=rollout.info.get("ground_truth"),
        completion=rollout.text,
        num_tokens=rollout.num_own_tokens,
        finish_reason=rollout.finish_reason,
        reward=None if math.isnan(rollout.reward) else rollout.reward,
        correct=rollout.correct,
        num_turns=rollout.num_turns,
        num_steps=num_steps if type(num_steps := rollout.info.get("num_steps")) is int else None,
        batch=batch,
        batch_seconds=seconds,
    )
