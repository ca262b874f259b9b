"""The text env runner: environments on one side, an inference engine on the other."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import gymnasium as gym
import numpy as np
import ray
import torch
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.env import INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

import agents
from agents.tensor_handles import gpu_uuid
from agents.weight_loader import Sleeper, WeightLoader, WeightPart, load_weights
from agents.weight_sources import Arrays, WeightSource
from agents.weights import TensorSpec
from runners.rllib.episode import Episode
from runners.rllib.gpu_claim import GPUClaim
from runners.rllib.problem_sampler import turn_seed
from runners.rllib.rl_module import PLACEHOLDER_SPACE
from runners.rllib.rollout import EnvName, GroupReset, SampledTokens, SampleRequest, SampleResult
from runners.rllib.weight_paths import EnginePlace

_PROBE = "What is 12 + 7?"


class TextEnvRunner(EnvRunner, Checkpointable):
    """Samples groups: resets G environments alike, lets the agent complete their prompt G times, steps each.

    Environments whose episode goes on pose the user's next message, and the agent completes all of them at once, until
    the last episode is over.

    It knows an environment only through Gymnasium (`gym.make(config.env, **config.env_config)`) and an engine only
    through `agents.Agent`. The local env runner of a group with remote ones makes no engine: it answers questions about
    the environment only.
    """

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        self._env_configs: dict[EnvName, dict[str, Any]] = {
            "train": dict(self.config.env_config),
            "eval": dict(self.config.get_evaluation_config_object().env_config),
        }
        self._envs: dict[EnvName, list[gym.Env[str, str]]] = {"train": [], "eval": []}
        self._weights_seq_no = 0
        self.engine_failed = False
        self.agent: agents.Agent | None = None
        if self.worker_index or not self.num_workers:
            if self.config.num_threads:
                torch.set_num_threads(self.config.num_threads)
            if self.config.gpus_per_engine:
                self._claim = GPUClaim(self.config.gpus_per_engine, torch.cuda.device_count())
                os.environ["CUDA_VISIBLE_DEVICES"] = self._claim.gpus
            options = dict(self.config.engine_options)
            if self.config.trust_remote_code:
                options["trust_remote_code"] = True
            if self.config.sleep_during_update:
                options["enable_sleep_mode"] = True
            self.agent = agents.make(self.config.engine, model=self.config.policy_model, **options)

    def num_problems(self, env: EnvName = "train") -> int | None:
        """Returns how many problems the environment says it has (`num_problems`), or None if it does not say."""
        first = self._environments(1, env)[0]
        return int(first.get_wrapper_attr("num_problems")) if first.has_wrapper_attr("num_problems") else None

    def sample(self, request: SampleRequest, **kwargs: Any) -> SampleResult:
        """Samples every group of `request`.

        Raises:
            ValueError: If the environments of a group, reset alike, pose different problems.
        """
        assert self.agent is not None, "the local env runner of a group with remote ones has no engine"
        size = request.sampling.n
        envs = self._environments(size * len(request.resets), request.env)
        prompts: list[list[int]] = []
        episodes: list[Episode] = []
        for i, reset in enumerate(request.resets):
            group = envs[i * size : (i + 1) * size]
            observation = _reset_alike(group, reset)
            prompt = self.agent.encode(observation)
            if len(prompt) <= request.max_prompt_tokens:
                prompts.append(prompt)
                episodes += [Episode(env, reset, observation, prompt) for env in group]
        self._play(episodes, prompts, request)
        return SampleResult(
            rollouts=[episode.rollout() for episode in episodes],
            num_dropped_prompts=len(request.resets) - len(prompts),
        )

    def probe(self, sampling: agents.SamplingParams) -> SampledTokens:
        """Returns one completion of a fixed prompt, for the learner to check the engine's weights by."""
        assert self.agent is not None
        prompt = self.agent.encode(_PROBE)
        [[completion]] = self.agent.generate([prompt], sampling)
        return SampledTokens(
            prompt_token_ids=tuple(prompt),
            completion_token_ids=completion.token_ids,
            completion_mask=np.ones(len(completion.token_ids), dtype=np.bool_),
            rollout_logprobs=np.array(completion.logprobs, dtype=np.float32),
            policy_version=completion.policy_version,
        )

    def restart_failed_engine(self) -> None:
        """Starts the engine anew if a call to it failed; the weights come with the next `set_state`."""
        if self.engine_failed and self.agent is not None:
            self.agent.restart()
            self.engine_failed = False

    def get_spaces(self) -> dict[str, tuple[gym.Space, gym.Space]]:
        """Returns the environment's text spaces, and a placeholder for the RLModule, whose catalog knows no text."""
        env = self._environments(1, "train")[0]
        return {
            INPUT_ENV_SPACES: (env.observation_space, env.action_space),
            DEFAULT_MODULE_ID: (PLACEHOLDER_SPACE, PLACEHOLDER_SPACE),
        }

    def assert_healthy(self) -> None:
        """Raises if a remote env runner has no engine."""
        assert self.agent is not None or not self.worker_index

    def get_metrics(self) -> dict[str, Any]:
        """Returns nothing: the driver computes the metrics from the rollouts."""
        return {}

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Returns the version of the weights; the weights themselves are the learner's."""
        return {WEIGHTS_SEQ_NO: self._weights_seq_no}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes the learner's weights, if `state` holds any, and their version."""
        if COMPONENT_RL_MODULE not in state or self.agent is None:
            return
        weights = state[COMPONENT_RL_MODULE][DEFAULT_MODULE_ID]
        self.load_weights(Arrays.of(weights.items()), state.get(WEIGHTS_SEQ_NO, 0))

    def load_weights(self, source: WeightSource, policy_version: int) -> None:
        """Has the agent take the learner's weights; handles travel on unopened to where the engine is."""
        assert self.agent is not None
        load_weights(self.agent, source, policy_version)
        self._weights_seq_no = policy_version

    def weight_place(self, specs: Sequence[TensorSpec] | None) -> EnginePlace:
        """Returns where the engine is and what weights it takes.

        Args:
            specs: The weights to come, for the agent to check; None leaves that out.

        Raises:
            ValueError: For weights that do not fit the engine's model.
        """
        assert self.agent is not None
        loader = self.agent if isinstance(self.agent, WeightLoader) else None
        if loader is not None and specs is not None:
            loader.check_weights(specs)
        return EnginePlace(
            node=ray.get_runtime_context().get_node_id(),
            gpus=tuple(gpu_uuid(index) for index in range(torch.cuda.device_count())),
            remote="url" in self.config.engine_options,
            transfers=loader.weight_transfers if loader is not None else (),
            num_workers=loader.num_workers() if loader is not None else 1,
        )

    def sleep(self) -> None:
        """Has the engine free its memory."""
        cast(Sleeper, self.agent).sleep()

    def wake_up(self, part: WeightPart) -> None:
        """Has the engine take memory again."""
        cast(Sleeper, self.agent).wake_up(part)

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[()], dict[str, Any]]:
        """Returns what RLlib needs to make this env runner again from a checkpoint."""
        return (), {"config": self.config}

    def stop(self) -> None:
        """Closes the environments and the engine."""
        for envs in self._envs.values():
            for env in envs:
                env.close()
            envs.clear()
        if self.agent is not None:
            self.agent.close()

    def _play(self, episodes: list[Episode], prompts: list[list[int]], request: SampleRequest) -> None:
        """Plays the episodes to their end: the first turn as groups, each later one as one batch of those still going.

        Args:
            episodes: [N * G], group by group.
            prompts: [N] the groups' prompts.
            request: How to sample, and the limit on an episode's tokens.
        """
        assert self.agent is not None
        limit = min(request.max_episode_tokens or self.agent.max_model_len, self.agent.max_model_len)
        groups = self.agent.generate(prompts, request.sampling)
        for turn in itertools.count(1):
            completions = [completion for group in groups for completion in group]
            for episode, completion in zip(episodes, completions, strict=True):
                episode.step(completion)
            episodes = [episode for episode in episodes if episode.begin_turn(self.agent, limit)]
            if not episodes:
                return
            sampling = replace(request.sampling, n=1, seed=turn_seed(request.sampling.seed, turn))
            groups = self.agent.generate([episode.token_ids for episode in episodes], sampling)

    def _environments(self, count: int, name: EnvName) -> list[gym.Env[str, str]]:
        envs = self._envs[name]
        while len(envs) < count:
            envs.append(gym.make(self.config.env, disable_env_checker=True, **self._env_configs[name]))
        return envs[:count]


def _reset_alike(group: list[gym.Env[str, str]], reset: GroupReset) -> str:
    observations = {env.reset(seed=reset.seed, options=reset.options)[0] for env in group}
    if len(observations) > 1:
        raise ValueError(
            f"{group[0].spec.id if group[0].spec else group[0]}: environments reset with seed={reset.seed} and "
            f"options={reset.options} pose {len(observations)} different problems. A group needs one: draw the problem "
            "from self.np_random after super().reset(seed=seed)."
        )
    return observations.pop()
