"""The Sampler: environments and an agent; problems in, rollouts out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from agents import Agent, SamplingParams
from runners.sampling.environments import Environments, reset_alike
from runners.sampling.episode import Episode
from runners.sampling.problems import sequence_seed
from runners.sampling.rollout import SampledTokens, SampleRequest, SampleResult

_PROBE = "What is 12 + 7?"


class Sampler:
    """Samples groups: resets G environments alike, lets the agent complete their prompt G times, steps each.

    Environments whose episode goes on pose the user's next message, and the agent completes all of them at once, until
    the last episode is over.

    Args:
        environments: Known through Gymnasium alone.
        agent: The engine, known through `agents.Agent` alone.
        encode: First observation -> the prompt's token ids; None is the agent's `encode`.
    """

    def __init__(
        self, environments: Environments, agent: Agent, encode: Callable[[str], Sequence[int]] | None = None
    ) -> None:
        self._environments = environments
        self._agent = agent
        self._encode = encode or agent.encode

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

    def _play(self, episodes: list[Episode], request: SampleRequest) -> None:
        """Plays the episodes to their end: the first turn as groups, each later one as one batch of those still going.

        Args:
            episodes: [N * G], group by group.
            request: How to sample, and the limit on an episode's tokens.
        """
        limit = min(request.max_episode_tokens or self._agent.max_model_len, self._agent.max_model_len)
        n = request.sampling.n
        asked = episodes[::n]  # member 0 of each group, whose seed plus j is member j's
        for turn in itertools.count():
            seeds = tuple(
                sequence_seed(request.seed, request.env, episode.group_id, turn) + episode.member for episode in asked
            )
            sampling = replace(request.sampling, n=n, seed=seeds)
            groups = self._agent.generate([episode.token_ids for episode in asked], sampling)
            completions = [completion for group in groups for completion in group]
            for episode, completion in zip(episodes, completions, strict=True):
                episode.step(completion)
            episodes = [episode for episode in episodes if episode.begin_turn(self._agent, limit)]
            if not episodes:
                return
            asked, n = episodes, 1
