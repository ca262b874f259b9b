"""The Sampler: environments and an agent; problems in, rollouts out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np

from agents import Agent, SamplingParams, StreamingAgent
from runners.sampling.batches import Batches
from runners.sampling.env_steps import EnvSteps
from runners.sampling.environments import Environments, reset_alike
from runners.sampling.episode import Episode
from runners.sampling.group import Group
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

    `sample` plays a request to its end; `begin` and `advance` play several at once, round by round.

    Args:
        environments: Known through Gymnasium alone.
        agent: The engine, known through `agents.Agent` alone.
        encode: First observation -> the prompt's token ids; None is the agent's `encode`.
        env_threads: As of `EnvSteps`.
        env_step_timeout_s: As of `EnvSteps`.
        stream: Whether the agent's completions come one by one; None: where it streams, and not in this process alone.
    """

    def __init__(
        self,
        environments: Environments,
        agent: Agent,
        encode: Callable[[str], Sequence[int]] | None = None,
        *,
        env_threads: int = 0,
        env_step_timeout_s: float | None = None,
        stream: bool | None = None,
    ) -> None:
        self._environments = environments
        self._agent = agent
        self._encode = encode or agent.encode
        if stream is None:
            stream = isinstance(agent, StreamingAgent) and not agent.in_process
        self._stream = cast(StreamingAgent, agent) if stream else Batches(agent)
        self._new_steps = partial(EnvSteps, env_threads, env_step_timeout_s)
        self._steps = self._new_steps()
        self._groups: dict[Episode, Group] = {}
        self._waiting: list[Episode] = []
        self._completing: dict[int, Episode] = {}

    @property
    def num_completing(self) -> int:
        """Completions that the agent has not given back."""
        return len(self._completing)

    @property
    def num_open(self) -> int:
        """Episodes that have not ended."""
        return len(self._groups)

    def sample(self, request: SampleRequest) -> SampleResult:
        """Samples every group of `request`.

        Raises:
            ValueError: If the environments of a group, reset alike, pose different problems.
        """
        groups = self.begin(request)
        while any(group.num_open for group in groups):
            self.advance(_WAIT_S)
        return SampleResult(
            rollouts=[rollout for group in groups for rollout in group.rollouts()],
            num_dropped_prompts=len(request.resets) - len(groups),
        )

    def begin(self, request: SampleRequest) -> list[Group]:
        """Begins the groups of `request`; returns those whose prompt is short enough. Raises as `sample` does."""
        size = request.sampling.n
        longest = request.max_prompt_tokens or self._agent.max_model_len - 1
        envs = self._environments.take(size * len(request.resets), request.env)
        groups = []
        for i, reset in enumerate(request.resets):
            own = envs[i * size : (i + 1) * size]
            observation, info = reset_alike(own, reset)
            prompt = self._encode(observation)
            if len(prompt) > longest:
                self._environments.give_back(own)
                continue
            episodes = [
                Episode(env, group_id=reset.group_id, member=j, observation=observation, info=info, prompt=prompt)
                for j, env in enumerate(own)
            ]
            groups.append(Group(reset, request, episodes))
            self._groups |= dict.fromkeys(episodes, groups[-1])
        self._waiting += [episode for group in groups for episode in group.episodes]
        return groups

    def advance(self, wait_s: float, *, submit: bool = True) -> None:
        """Plays every open episode as far as it comes without waiting long.

        After an error all that was open is lost.

        Args:
            wait_s: Seconds to wait for the first completion.
            submit: Whether the agent is given what waits for a completion.

        Raises:
            EngineError: Of the agent.
            Exception: What a step of an environment raised.
        """
        try:
            self._advance(wait_s, submit)
        except BaseException:
            self.forget_all()
            raise

    def forget_all(self) -> None:
        """Gives up all that is open; an environment that may be in a step is not used again."""
        for episode in self._steps.in_threads():
            self._environments.forget(episode.env)
        self._environments.give_back(episode.env for episode in self._groups)
        self._steps = self._new_steps()
        self._groups = {}
        self._waiting = []
        self._completing = {}

    def loading_weights(self) -> AbstractContextManager[None]:
        """Weights are taken within this: here they come between requests anyhow."""
        return nullcontext()

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

    def _advance(self, wait_s: float, submit: bool) -> None:
        if submit:
            self._submit()
        if self._completing and len(self._steps):
            wait_s = min(wait_s, _GLANCE_S)  # where both are under way neither is waited for long
        ended = []
        for number, completion in self._stream.poll(wait_s).items() if self._completing else ():
            # Others are of what an error ended.
            if episode := self._completing.pop(number, None):
                if episode.take(completion):
                    self._steps.begin(episode)
                else:
                    ended.append(episode)
        for episode in self._steps.ended(wait_s):
            goes_on = episode.begin_turn(self._agent, self._limit(self._groups[episode].request))
            (self._waiting if goes_on else ended).append(episode)
        for episode in self._steps.pop_late():
            logger.warning("A step of %s took too long: the reward of its episode is missing", episode.env)
            self._environments.forget(episode.env)
        for episode in ended:
            self._groups.pop(episode).end_one()
            self._environments.give_back([episode.env])

    def _submit(self) -> None:
        """Has the next turn of the waiting episodes completed: those in a row that have the same ids together."""
        waiting, self._waiting = self._waiting, []
        alike: dict[tuple[int, bool], list[Episode]] = {}
        for episode in waiting:
            alike.setdefault((id(self._groups[episode].request), episode.turn > 0), []).append(episode)
        for episodes in alike.values():
            request = self._groups[episodes[0]].request
            self._submit_alike(episodes, request, 1 if episodes[0].turn else request.sampling.n)

    def _submit_alike(self, episodes: Sequence[Episode], request: SampleRequest, n: int) -> None:
        """Submits episodes of which each n in a row have the same ids."""
        asked = episodes[::n]  # member 0 of each group, whose seed plus j is member j's
        seeds = tuple(
            sequence_seed(request.seed, request.env, episode.group_id, episode.turn) + episode.member
            for episode in asked
        )
        params = replace(request.sampling, n=n, seed=seeds)
        groups = self._stream.submit([episode.token_ids for episode in asked], params)
        self._completing |= dict(zip((number for group in groups for number in group), episodes, strict=True))

    def _limit(self, request: SampleRequest) -> int:
        return min(request.max_episode_tokens or self._agent.max_model_len, self._agent.max_model_len)
