"""RLlib's callbacks of an env runner, on the text environments that its Sampler plays.

An episode is a `SingleAgentEpisode` whose observations and actions are texts. It is made only where a callback asks
for episodes: nothing else pays for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium as gym
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils import force_list

from agents import Agent
from runners.sampling.environments import Environments, make_environment
from runners.sampling.rollout import SampleRequest, SampleResult
from runners.sampling.sampler import Sampler

_OF_EPISODES = ("on_episode_created", "on_episode_start", "on_episode_step", "on_episode_end", "on_sample_end")


def log_on_env_runners(config: Any, objects: Sequence[RLlibCallback]) -> bool:
    """Returns whether some callbacks, a configuration's functions and objects, may log metrics on env runners."""
    return _given(config, objects, (*_OF_EPISODES, "on_environment_created"))


def observes_episodes(config: Any) -> bool:
    """Returns whether a configuration's callbacks are called with episodes."""
    return _given(config, [cls() for cls in force_list(config.callbacks_class)], _OF_EPISODES)


class EnvRunnerCallbacks:
    """Calls what `config.callbacks(...)` gives an env runner.

    Args:
        env_runner: Passed on, with its metrics.
    """

    def __init__(self, env_runner: Any) -> None:
        self._env_runner = env_runner
        self._objects = [cls() for cls in force_list(env_runner.config.callbacks_class)]
        self._wants_episodes = _given(env_runner.config, self._objects, _OF_EPISODES)
        self.observed: list[ObservedEnv] = []

    def call(self, name: str, **kwargs: Any) -> None:
        """Calls the callbacks of one name."""
        runner = self._env_runner
        kwargs = {"env_runner": runner, "metrics_logger": runner.metrics, **kwargs}
        make_callback(name, self._objects, getattr(runner.config, f"callbacks_{name}"), kwargs=kwargs)

    def make_environment(self, env_id: str, options: Mapping[str, Any]) -> gym.Env[str, str]:
        """Makes an environment as `environments.make_environment` does; one that is observed if a callback asks."""
        env = make_environment(env_id, options)
        runner = self._env_runner
        context = EnvContext(dict(options), worker_index=runner.worker_index or 0, num_workers=runner.num_workers)
        self.call("on_environment_created", env=env.unwrapped, env_context=context)
        if not self._wants_episodes:
            return env
        self.observed.append(ObservedEnv(env, self, len(self.observed)))
        return self.observed[-1]

    def sampler(self, environments: Environments, agent: Agent, **steps: Any) -> Sampler:
        """Returns the Sampler over environments of `make_environment`; `steps` says how it steps them."""
        make = partial(ObservedSampler, self) if self._wants_episodes else Sampler
        return make(environments, agent, **steps)


class ObservedEnv(gym.Wrapper[str, str, str, str]):
    """Keeps the episode that is played, and calls the callbacks of its parts.

    Args:
        env: The environment.
        callbacks: What to call.
        index: Its number on this env runner.

    Attributes:
        episode: The one that is played, or was last; None before the first.
    """

    def __init__(self, env: gym.Env[str, str], callbacks: EnvRunnerCallbacks, index: int) -> None:
        super().__init__(env)
        self.episode: SingleAgentEpisode | None = None
        self._callbacks, self._index = callbacks, index

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Begins an episode."""
        episode = self.episode = SingleAgentEpisode(
            observation_space=self.observation_space, action_space=self.action_space
        )
        self._call("on_episode_created", episode)
        observation, info = super().reset(seed=seed, options=options)
        episode.add_env_reset(observation, info)
        self._call("on_episode_start", episode)
        return observation, info

    def step(self, action: str) -> tuple[str, Any, bool, bool, dict[str, Any]]:
        """Adds a step to the episode."""
        assert self.episode is not None
        observation, reward, terminated, truncated, info = super().step(action)
        self.episode.add_env_step(observation, action, reward, info, terminated=terminated, truncated=truncated)
        self._call("on_episode_step", self.episode)
        if self.episode.is_done:
            self._call("on_episode_end", self.episode, prev_episode_chunks=[])
        return observation, reward, terminated, truncated, info

    def ended_episode(self) -> SingleAgentEpisode | None:
        """Returns the episode, ended here if the limit on its tokens cut it; None if it never took a step.

        That is where the prompt was too long: the policy never saw it.
        """
        if self.episode is None or not len(self.episode):
            return None
        if not self.episode.is_done:
            self.episode.is_truncated = True
            self._call("on_episode_end", self.episode, prev_episode_chunks=[])
        return self.episode

    def _call(self, name: str, episode: SingleAgentEpisode, **kwargs: Any) -> None:
        self._callbacks.call(
            name, episode=episode, env=self.env.unwrapped, env_index=self._index, rl_module=None, **kwargs
        )


class ObservedSampler(Sampler):
    """Calls on_sample_end with the episodes of each request.

    Args:
        callbacks: What to call, and which environments it observes.
        environments: As of `Sampler`.
        agent: As of `Sampler`.
        **steps: As of `Sampler`. Callbacks of a step are called in its thread.
    """

    def __init__(self, callbacks: EnvRunnerCallbacks, environments: Environments, agent: Agent, **steps: Any) -> None:
        super().__init__(environments, agent, **steps)
        self._callbacks = callbacks

    def sample(self, request: SampleRequest) -> SampleResult:
        """Samples as `Sampler` does."""
        for env in self._callbacks.observed:
            env.episode = None
        result = super().sample(request)
        ended = [env.ended_episode() for env in self._callbacks.observed]
        self._callbacks.call("on_sample_end", samples=[episode for episode in ended if episode is not None])
        return result


def _given(config: Any, objects: Sequence[RLlibCallback], names: Iterable[str]) -> bool:
    """Returns whether there is a callback of one of some names: a function, or a method that RLlib's class lacks."""
    return any(
        getattr(config, f"callbacks_{name}")
        or any(getattr(type(one), name) is not getattr(RLlibCallback, name) for one in objects)
        for name in names
    )
