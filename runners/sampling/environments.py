"""The environments that a Sampler plays: known through Gymnasium alone, made when they are first needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from runners.sampling.rollout import EnvName, GroupReset


class Environments:
    """As many copies of the training and of the evaluation environment as episodes are played at once.

    Args:
        env_id: A registered id.
        options: What `gym.make` gets for either.
    """

    def __init__(self, env_id: str, options: Mapping[EnvName, Mapping[str, Any]]) -> None:
        self._id = env_id
        self._options = options
        self._made: dict[EnvName, list[gym.Env[str, str]]] = {"train": [], "eval": []}

    def take(self, count: int, name: EnvName) -> list[gym.Env[str, str]]:
        """Returns `count` of them, always the same ones."""
        made = self._made[name]
        while len(made) < count:
            made.append(gym.make(self._id, disable_env_checker=True, **self._options[name]))
        return made[:count]

    def num_problems(self, name: EnvName) -> int | None:
        """Returns how many problems the environment says it has (`num_problems`), or None if it does not say."""
        (env,) = self.take(1, name)
        return int(env.get_wrapper_attr("num_problems")) if env.has_wrapper_attr("num_problems") else None

    def spaces(self) -> tuple[gym.Space[str], gym.Space[str]]:
        """Returns the spaces of observations and actions."""
        (env,) = self.take(1, "train")
        return env.observation_space, env.action_space

    def close(self) -> None:
        """Closes all of them."""
        for made in self._made.values():
            for env in made:
                env.close()
            made.clear()


def reset_alike(group: list[gym.Env[str, str]], reset: GroupReset) -> str:
    """Resets the environments of a group; returns their observation.

    Raises:
        ValueError: If they pose different problems.
    """
    observations = {env.reset(seed=reset.seed, options=reset.options)[0] for env in group}
    if len(observations) > 1:
        raise ValueError(
            f"{group[0].spec.id if group[0].spec else group[0]}: environments reset with seed={reset.seed} and "
            f"options={reset.options} pose {len(observations)} different problems. A group needs one: draw the problem "
            "from self.np_random after super().reset(seed=seed)."
        )
    return observations.pop()


def resolved_options(env_id: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options with what those such as dataset="auto" resolve to here, so that all workers agree.

    An environment that has such options names their resolved values in `resolved_options`.
    """
    env = gym.make(env_id, disable_env_checker=True, **options)
    resolved = env.get_wrapper_attr("resolved_options") if env.has_wrapper_attr("resolved_options") else {}
    env.close()
    return {**options, **resolved}
