"""What travels between the driver and the env runners: which problems to sample, and what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from agents import Completion, FinishReason, SamplingParams

EnvName = Literal["train", "eval"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupReset:
    """How the G environments of one group are reset: alike, so that all of them pose the same problem.

    Attributes:
        group_id: Unique over a run; it keeps the group together through sharding and shuffling.
        seed: Given to `reset(seed=...)`.
        options: Given to `reset(options=...)`; None where the seed alone chooses the problem.
    """

    group_id: int
    seed: int
    options: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRequest:
    """One env runner's share of a step.

    Attributes:
        resets: [N'] the groups to sample.
        sampling: How; `sampling.n` is the group size G.
        max_prompt_tokens: Longer prompts are dropped and counted.
        env: Which environment: that of training or that of evaluation.
    """

    resets: Sequence[GroupReset]
    sampling: SamplingParams
    max_prompt_tokens: int
    env: EnvName = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledTokens:
    """One sequence as the engine produced it.

    Attributes:
        prompt_token_ids: [P] ids.
        completion_token_ids: [C] ids, the end token included.
        rollout_logprobs: [C] float32, the engine's log-probabilities of the completion's ids.
        policy_version: Version of the weights that sampled it.
    """

    prompt_token_ids: tuple[int, ...]
    completion_token_ids: tuple[int, ...]
    rollout_logprobs: np.ndarray
    policy_version: int

    @classmethod
    def fields_of(cls, prompt: Sequence[int], completion: Completion) -> dict[str, Any]:
        """Returns the fields above for an agent's completion of a prompt."""
        return {
            "prompt_token_ids": tuple(prompt),
            "completion_token_ids": completion.token_ids,
            "rollout_logprobs": np.asarray(completion.logprobs, dtype=np.float32),
            "policy_version": completion.policy_version,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout(SampledTokens):
    """One sequence with its place in a group and the environment's reward.

    Attributes:
        group_id: The group it belongs to.
        observation: The environment's text.
        text: The completion's text, as given to `step`.
        reward: What `step` returned; NaN if the environment could not compute it.
        correct: `info["correct"]` where the environment reports it, else None.
        finish_reason: How generation ended.
    """

    group_id: int
    observation: str
    text: str
    reward: float
    correct: bool | None
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleResult:
    """What came of a `SampleRequest`.

    Attributes:
        rollouts: The sequences, group by group.
        num_dropped_prompts: Groups left out because their prompt was too long.
    """

    rollouts: list[Rollout] = field(default_factory=list)
    num_dropped_prompts: int = 0
