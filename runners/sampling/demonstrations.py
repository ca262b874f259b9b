"""Demonstrations: problems with the solutions that their environment has, as rollouts that nobody sampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from agents.text import encode_chat, encode_completion
from runners.sampling.environments import Environments
from runners.sampling.rollout import GroupReset, Rollout, SampleResult
from runners.support.errors import UserError, users_mistakes


class Demonstrations:
    """Takes problems to prompt and completion: the first observation, and the environment's `solution` to it.

    Args:
        environments: Known through Gymnasium alone; that of training has an attribute `solution`, a text.
        tokenizer: The model's.
        end_token_ids: Those that end a completion.
        max_prompt_tokens: Problems with longer prompts are left out.
        max_tokens: Likewise with longer solutions, the end token included: one that is cut would teach not to end.
    """

    def __init__(
        self,
        environments: Environments,
        tokenizer: Any,
        end_token_ids: Sequence[int],
        *,
        max_prompt_tokens: int,
        max_tokens: int,
    ) -> None:
        self._environments, self._tokenizer, self._end_token_ids = environments, tokenizer, end_token_ids
        self._max_prompt_tokens, self._max_tokens = max_prompt_tokens, max_tokens

    def take(self, problems: Sequence[GroupReset]) -> SampleResult:
        """Returns a rollout of each problem that is short enough, without log-probs or reward.

        Raises:
            UserError: If the environment has no solution for one of them.
        """
        env = self._environments.first("train")
        rollouts = []
        for problem in problems:
            observation, _ = env.reset(seed=problem.seed, options=problem.options)
            solution = solution_of(env)
            if solution is None:
                raise no_solution(env.spec.id if env.spec else str(env))
            rollout = self._rollout(problem.group_id, observation, solution)
            if (
                len(rollout.prompt_token_ids) <= self._max_prompt_tokens
                and len(rollout.completion_token_ids) <= self._max_tokens
            ):
                rollouts.append(rollout)
        return SampleResult(rollouts=rollouts, num_dropped_prompts=len(problems) - len(rollouts))

    def _rollout(self, group_id: int, observation: str, solution: str) -> Rollout:
        with users_mistakes():  # of the model's chat template
            completion = encode_completion(self._tokenizer, self._end_token_ids, solution)
        return Rollout(
            prompt_token_ids=tuple(encode_chat(self._tokenizer, observation)),
            completion_token_ids=tuple(completion),
            completion_mask=np.ones(len(completion), dtype=np.bool_),
            rollout_logprobs=np.zeros(len(completion), dtype=np.float32),
            policy_version=0,
            group_id=group_id,
            observation=observation,
            text=solution,
            reward=math.nan,
            correct=None,
            finish_reason="stop",
            turn_lengths=(len(completion),),
        )


def solution_of(env: gym.Env[str, str]) -> str | None:
    """Returns the environment's solution to the problem posed; None if it has none, or something else than a text."""
    solution = env.get_wrapper_attr("solution") if env.has_wrapper_attr("solution") else None
    return solution if isinstance(solution, str) and solution else None


def no_solution(env_id: str) -> UserError:
    """Returns the error where an environment has no solution to learn from."""
    return UserError(
        f"--env {env_id!r} has no attribute `solution`, a text that answers the problem which reset() has posed: "
        "supervised fine-tuning learns from it. Add it, or train by reward: python runners/grpo.py."
    )
