"""The command line of `python runners/chat.py`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TextIO

import agents
from agents import Agent, Completion, EngineError, SamplingParams
from gsm8k_env.grading import GradingMode, grade
from gsm8k_env.prompts import render_prompt
from runners.chatting.policy import Policy, find_policy
from runners.support.assignments import assignments
from runners.support.parser import OneLineParser
from runners.support.quiet import quiet_libraries

DESCRIPTION = """Asks a policy: `python runners/chat.py runs/NAME "What is 2 + 2?"`.

Without a question each line of the standard input is one. The question is put as in training: with the run's
instruction, in the model's chat template. Each is asked anew, and knows nothing of the one before."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the command line's options; None stands for the run's value."""
    parser = OneLineParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", metavar="RUN_OR_MODEL", help="runs/NAME (its best/, else its policy/), or a model")
    parser.add_argument("question", nargs="?", help="default: each line of the standard input")
    parser.add_argument("--instruction", help="hash, boxed, none, or a text (default: the run's, else hash)")
    parser.add_argument("--max-tokens", type=int, help="most tokens of a completion (default: the run's, else 512)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy, the default")
    parser.add_argument("--seed", type=int, default=0, help="of the samples, where the temperature is above 0")
    parser.add_argument("--engine", default="transformers", help="transformers, or any agent registered under a name")
    parser.add_argument(
        "--engine-option", action="append", default=[], metavar="NAME=VALUE", help="passed to the engine; repeatable"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    args = parse_args(argv)
    quiet_libraries()
    try:
        policy = find_policy(args.policy)
        given = {name: getattr(args, name) for name in ("instruction", "max_tokens") if getattr(args, name) is not None}
        policy = replace(policy, **given)
        params = SamplingParams(max_tokens=policy.max_tokens, temperature=args.temperature, seed=args.seed)
        render_prompt("", policy.instruction)  # an unknown name is said before a model is loaded
        agent = agents.make(args.engine, model=policy.model, **assignments(args.engine_option, "--engine-option"))
        try:
            for question in [args.question] if args.question is not None else _lines(sys.stdin):
                print(answered(ask(agent, question, policy, params), policy, params.max_tokens), flush=True)
        finally:
            agent.close()
    except KeyboardInterrupt:
        return 130
    except (ValueError, ImportError, OSError, EngineError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def ask(agent: Agent, question: str, policy: Policy, params: SamplingParams) -> Completion:
    """Returns a policy's completion of a question, put as in training.

    Raises:
        ValueError: If the question is empty, or leaves no room in the model's context.
    """
    if not question.strip():
        raise ValueError("The question is empty: give it behind the run, or a line of the standard input each.")
    try:
        question.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"The question is no text: {error}.") from error
    prompt = agent.encode(render_prompt(question, policy.instruction))
    room = max(1, agent.max_model_len - len(prompt))
    ((completion,),) = agent.generate([prompt], replace(params, max_tokens=min(params.max_tokens, room)))
    return completion


def answered(completion: Completion, policy: Policy, max_tokens: int) -> str:
    """Returns a completion's text and, in a line of its own, the answer that the environment would read in it."""
    mode: GradingMode = policy.grading  # type: ignore[assignment]  # grade refuses any other
    found = grade(completion.text, "0", mode).extracted  # of the verdict on 0 nothing is said
    lines = [completion.text, f"answer: {'none found' if found is None else found}"]
    if completion.finish_reason == "length":
        lines.append(f"(cut at max_tokens={max_tokens}: --max-tokens {2 * max_tokens})")
    return "\n".join(lines)


def _lines(stream: TextIO) -> Iterator[str]:
    """Yields the questions of a stream; in a terminal it asks for each."""
    while True:
        if stream.isatty():
            print("question> ", end="", file=sys.stderr, flush=True)
        line = stream.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()
