"""What travels between the driver and the env runners: which problems to sample, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from agents import FinishReason, SamplingParams

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
        sampling: How; `sampling.n` is the group size G. `sampling.seed` is not read.
        seed: The run's: with env, group, member and turn it decides a sequence's random numbers (`sequence_seed`).
        max_prompt_tokens: Longer prompts are dropped and counted; None leaves the context's limit.
        max_episode_tokens: No turn begins behind this many tokens of an episode; None leaves the context's limit.
        env: Which environment: that of training or that of evaluation.
    """

    resets: Sequence[GroupReset]
    sampling: SamplingParams
    seed: int
    max_prompt_tokens: int | None = None
    max_episode_tokens: int | None = None
    env: EnvName = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledTokens:
    """One sequence as it was sampled, token for token.

    Attributes:
        prompt_token_ids: [P] ids.
        completion_token_ids: [C] ids behind the prompt: the completion's, the end token included; where an episode has
            several turns, every completion's and, between them, those of the user's messages.
        completion_mask: [C] bool, True on the policy's own tokens.
        rollout_logprobs: [C] float32, the engine's log-probabilities of the policy's own tokens; 0 off the mask.
        policy_version: Version of the weights that drew its first token: the oldest.
        policy_versions: [C] int64 of each of the policy's own tokens, where they differ; None where they do not.
    """

    prompt_token_ids: tuple[int, ...]
    completion_token_ids: tuple[int, ...]
    completion_mask: np.ndarray
    rollout_logprobs: np.ndarray
    policy_version: int
    policy_versions: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = (len(self.completion_token_ids),)
        assert self.completion_mask.shape == shape and self.completion_mask.dtype == np.bool_, self.completion_mask
        assert self.rollout_logprobs.shape == shape and not self.rollout_logprobs[~self.completion_mask].any()

    @property
    def num_own_tokens(self) -> int:
        """The tokens that the policy wrote."""
        return int(self.completion_mask.sum())

    def own_policy_versions(self) -> np.ndarray:
        """Returns [num_own_tokens] int64, the version of the weights that drew each."""
        if self.policy_versions is None:
            return np.full(self.num_own_tokens, self.policy_version)
        return self.policy_versions[self.completion_mask]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout(SampledTokens):
    """One episode with its place in a group and the environment's rewards.

    Attributes:
        group_id: The group it belongs to.
        observation: The environment's first text.
        text: The completion's text, as given to `step`; the whole dialogue behind the first observation, if there is
            more.
        reward: The episode's return, the sum of what `step` returned; NaN if the environment could not compute it
            or the engine aborted a completion.
        correct: The last step's `info["correct"]` where the environment reports it, else None.
        finish_reason: How generation ended in the last turn; "length" too where the episode's tokens left no room for
            another turn.
        turn_lengths: The policy's tokens in each turn, each max_tokens at most; their sum is num_own_tokens.
        info: What `reset` told and, over it, the last `step`: texts, numbers, flags and None; nothing else travels.
    """

    group_id: int
    observation: str
    text: str
    reward: float
    correct: bool | None
    finish_reason: FinishReason
    turn_lengths: tuple[int, ...]
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_turns(self) -> int:
        """Completions of the episode, >= 1."""
        return len(self.turn_lengths)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleResult:
    """What came of a `SampleRequest`.

    Attributes:
        rollouts: The sequences, group by group.
        num_dropped_prompts: Groups left out because their prompt was too long.
    """

    rollouts: list[Rollout] = field(default_factory=list)
    num_dropped_prompts: int = 0

    @classmethod
    def joined(cls, parts: Sequence[SampleResult]) -> SampleResult:
        """Returns the results of several requests as one, in their order."""
        return cls(
            rollouts=[rollout for part in parts for rollout in part.rollouts],
            num_dropped_prompts=sum(part.num_dropped_prompts for part in parts),
        )
