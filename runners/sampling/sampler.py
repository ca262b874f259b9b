"""The Sampler: environments and an agent; problems in, rollouts out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from agents import Agent, SamplingParams, StreamingAgent
from runners.sampling.batches import Batches
from runners.sampling.env_steps import EnvSteps
from runners.sampling.environments import Environments, reset_alike
from runners.sampling.episode import Episode
from runners.sampling.problems import sequence_seed
from runners.sampling.rollout import SampledTokens, SampleRequest, SampleResult

logger = logging.getLogger(__name__)

_WAIT_S, _GLANCE_S = 1.0, 0.005
_PROBE = "What is 12 + 7?"


class Sampler:
    """Samples groups: resets G environments alike, lets the agent complete their prompt G times, steps each.

    An episode goes on as soon as its own completion is there: an environment that answers with the user's next message
    gets the next completion while others still wait for theirs. An engine that works in this process alone, or cannot
    stream, completes all that wait together: a batch a turn.

    Args:
        environments: Known through Gymnasium alone.
        agent: The engine, known through `agents.Agent` alone.
        encode: First observation -> the prompt's token ids; None is the agent's `encode`.
        env_threads: As of `EnvSteps`.
        env_step_timeout_s: As of `EnvSteps`.
    """

    def __init__(
        self,
        environments: Environments,
        agent: Agent,
        encode: Callable[[str], Sequence[int]] | None = None,
        *,
        env_threads: int = 0,
        env_step_timeout_s: float | None = None,
    ) -> None:
        self._environments = environments
        self._agent = agent
        self._encode = encode or agent.encode
        self._env_threads, self._env_step_timeout_s = env_threads, env_step_timeout_s

    def sample(self, request: SampleRequest) -> SampleResult:
        """Samples every group of `request`.

        Raises:
            ValueError: If the environments of a group, reset alike, pose different problems.
        """
        size = request.sampling.n
        envs = self._environments.take(size * len(request.resets), request.env)
        episodes: list[Episode] = []
        for i, reset in enumerate(request.resets):
            group = envs[i * size : (i + 1) * size]
            observation, info = reset_alike(group, reset)
            prompt = self._encode(observation)
            if len(prompt) <= (request.max_prompt_tokens or self._agent.max_model_len - 1):
                episodes += [
                    Episode(env, group_id=reset.group_id, member=j, observation=observation, info=info, prompt=prompt)
                    for j, env in enumerate(group)
                ]
        self._play(episodes, request)
        return SampleResult(
            rollouts=[episode.rollout() for episode in episodes],
            num_dropped_prompts=len(request.resets) - len(episodes) // size,
        )

    def probe(self, sampling: SamplingParams, prompts: Sequence[Sequence[int]] | None = None) -> list[SampledTokens]:
        """Returns a completion of each of some prompts, for the learner to check the engine's weights by.

        Args:
            sampling: With n=1.
            prompts: [P] token ids; None is one fixed prompt.
        """
        prompts = prompts or [self._agent.encode(_PROBE)]
        return [
            SampledTokens(
                prompt_token_ids=tuple(prompt),
                completion_token_ids=completion.token_ids,
                completion_mask=np.ones(len(completion.token_ids), dtype=np.bool_),
                rollout_logprobs=np.array(completion.logprobs, dtype=np.float32),
                policy_version=completion.policy_version,
            )
            for prompt, [completion] in zip(prompts, self._agent.generate(prompts, sampling), strict=True)
        ]

    def _play(self, episodes: Sequence[Episode], request: SampleRequest) -> None:
        """Plays the episodes to their end.

        Args:
            episodes: [N * G], group by group.
            request: How to sample, and the limit on an episode's tokens.
        """
        limit = min(request.max_episode_tokens or self._agent.max_model_len, self._agent.max_model_len)
        streams = isinstance(self._agent, StreamingAgent) and not self._agent.in_process
        stream = cast(StreamingAgent, self._agent) if streams else Batches(self._agent)
        steps = EnvSteps(self._env_threads, self._env_step_timeout_s)
        completing = _submit(stream, episodes, request, request.sampling.n)
        while completing or len(steps):
            # Where both are under way neither is waited for long.
            wait_s = _GLANCE_S if completing and len(steps) else _WAIT_S
            for number, completion in stream.poll(wait_s).items() if completing else ():
                # Others are of a sample that an error ended.
                episode = completing.pop(number, None)
                if episode and episode.take(completion):
                    steps.begin(episode)
            going_on = [episode for episode in steps.ended(wait_s) if episode.begin_turn(self._agent, limit)]
            completing |= _submit(stream, going_on, request, 1)
        for episode in steps.late:
            logger.warning("A step of %s took too long: the reward of its episode is missing", episode.env)
            self._environments.forget(episode.env)


def _submit(
    stream: StreamingAgent | Batches, episodes: Sequence[Episode], request: SampleRequest, n: int
) -> dict[int, Episode]:
    """Has the next turn of episodes completed, of which each n in a row have the same ids; returns them by number."""
    if not episodes:
        return {}
    asked = episodes[::n]  # member 0 of each group, whose seed plus j is member j's
    seeds = tuple(
        sequence_seed(request.seed, request.env, episode.group_id, episode.turn) + episode.member for episode in asked
    )
    groups = stream.submit([episode.token_ids for episode in asked], replace(request.sampling, n=n, seed=seeds))
    return dict(zip((number for group in groups for number in group), episodes, strict=True))
