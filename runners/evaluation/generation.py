"""From problems to completions, a batch at a time, so that a killed run goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from agents import Agent, SamplingParams
from runners.evaluation.config import EvaluationConfig
from runners.evaluation.prompts import Prompt
from runners.evaluation.samples import Sample
from runners.sampling.problems import evaluation_resets, sequence_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class PosedProblem:
    """A problem as the environment poses it.

    Attributes:
        reset_options: What `reset` takes to pose it again.
        index: Its place in the split.
        observation: The environment's text.
        question: The problem's text.
        ground_truth: The true answer.
    """

    reset_options: dict[str, Any] | None
    index: int
    observation: str
    question: str
    ground_truth: str


def pose_problems(env: gym.Env[str, str], count: int | None) -> list[PosedProblem]:
    """Returns `count` problems spread over the environment's list, the same at every call; None takes all of them.

    They are the ones that training with `runners/grpo.py` evaluates on.

    Raises:
        ValueError: If `count` is below 1.
    """
    if count is not None and count < 1:
        raise ValueError(f"--num-problems {count}: it must be at least 1.")
    available = int(env.get_wrapper_attr("num_problems"))
    posed = []
    for reset in evaluation_resets(available, available if count is None else count):
        observation, info = env.reset(seed=reset.seed, options=reset.options)
        posed.append(
            PosedProblem(
                reset_options=reset.options,
                index=info["index"],
                observation=observation,
                question=info["question"],
                ground_truth=info["ground_truth"],
            )
        )
    return posed


def encode_prompts(agent: Agent, prompt: Prompt, problems: Sequence[PosedProblem]) -> list[list[int]]:
    """Returns the token ids of every prompt: [N][P].

    A chat prompt goes through the model's chat template, a few-shot text through the tokenizer alone, with the tokens
    it puts before any text.

    Raises:
        ValueError: If a prompt leaves no room in the context; said before anything is generated.
    """
    texts = [prompt.render(problem.observation) for problem in problems]
    if prompt.is_chat:
        encoded = [agent.encode(text) for text in texts]
    else:
        encoded = [list(agent.tokenizer(text)["input_ids"]) for text in texts]
    longest = max(range(len(encoded)), key=lambda place: len(encoded[place]))
    if len(encoded[longest]) >= agent.max_model_len:
        raise ValueError(
            f"The prompt of problem {problems[longest].index} has {len(encoded[longest])} tokens, but the model's "
            f"context is {agent.max_model_len}: choose a shorter --prompt (fewer examples), or a longer context "
            "(--engine-option max_model_len=...) if the model has one."
        )
    return encoded


def generate_batches(
    agent: Agent,
    env: gym.Env[str, str],
    config: EvaluationConfig,
    problems: Sequence[PosedProblem],
    prompts: Sequence[Sequence[int]],
    first: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[list[Sample]]:
    """Yields the samples of each batch from number `first` on.

    A completion's random numbers follow from the seed, its problem's index and its own number alone. So a run that was
    killed and resumed gives the completions of one that was not, and the size of the batches changes none.
    """
    for batch, places in list(enumerate(config.batches))[first:]:
        params = SamplingParams(
            n=config.n,
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=config.top_k,
            max_tokens=config.max_tokens,
            stop=config.stop,
            seed=tuple(sequence_seed(config.seed, "eval", problems[place].index, turn=0) for place in places),
        )
        started = clock()
        groups = agent.generate([prompts[place] for place in places], params)
        seconds = clock() - started
        yield [
            Sample(
                index=problems[place].index,
                sample=number,
                question=problems[place].question,
                ground_truth=problems[place].ground_truth,
                completion=completion.text,
                num_tokens=len(completion.token_ids),
                finish_reason=completion.finish_reason,
                reward=_reward(env, problems[place], completion.text),
                batch=batch,
                batch_seconds=round(seconds, 6),
            )
            for place, group in zip(places, groups, strict=True)
            for number, completion in enumerate(group)
        ]


def _reward(env: gym.Env[str, str], problem: PosedProblem, answer: str) -> float:
    env.reset(options=problem.reset_options)
    return float(env.step(answer)[1])
