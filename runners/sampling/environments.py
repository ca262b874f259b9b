"""The environments that a Sampler plays: known through Gymnasium alone, made when they are first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gymnasium as gym

from agents.values import fits
from runners.sampling.rollout import EnvName, GroupReset
from runners.support.errors import UserError

# Given to gym.make here.
_OF_MAKE = ("id", "disable_env_checker")


class Environments:
    """As many copies of the training and of the evaluation environment as episodes are played at once.

    Args:
        env_id: A registered id.
        options: What `gym.make` gets for either.
        make: Makes one; None is `make_environment`.
    """

    def __init__(
        self,
        env_id: str,
        options: Mapping[EnvName, Mapping[str, Any]],
        make: Callable[[str, Mapping[str, Any]], gym.Env[str, str]] | None = None,
    ) -> None:
        self._id = env_id
        self._options = options
        self._make = make or make_environment
        self._made: dict[EnvName, list[gym.Env[str, str]]] = {"train": [], "eval": []}
        self._taken: set[gym.Env[str, str]] = set()

    def first(self, name: EnvName) -> gym.Env[str, str]:
        """Returns one of them, to be asked and not to be played while others play."""
        made = self._made[name]
        if not made:
            made.append(self._make(self._id, self._options[name]))
        return made[0]

    def take(self, count: int, name: EnvName) -> list[gym.Env[str, str]]:
        """Returns `count` that nobody plays: the same ones where all were given back."""
        made = self._made[name]
        free = [env for env in made if env not in self._taken][:count]
        while len(free) < count:
            made.append(self._make(self._id, self._options[name]))
            free.append(made[-1])
        self._taken.update(free)
        return free

    def give_back(self, envs: Iterable[gym.Env[str, str]]) -> None:
        """Takes back what is played no more."""
        self._taken.difference_update(envs)

    def forget(self, env: gym.Env[str, str]) -> None:
        """Leaves out one that hangs: another is made in its place when it is needed."""
        self._taken.discard(env)
        for made in self._made.values():
            if env in made:
                made.remove(env)

    def num_problems(self, name: EnvName) -> int | None:
        """Returns how many problems the environment says it has (`num_problems`), or None if it does not say."""
        env = self.first(name)
        return int(env.get_wrapper_attr("num_problems")) if env.has_wrapper_attr("num_problems") else None

    def data_fingerprint(self, name: EnvName) -> str | None:
        """Returns the fingerprint of the environment's data (`problems.fingerprint`), or None if it has none."""
        env = self.first(name)
        return env.get_wrapper_attr("problems").fingerprint if env.has_wrapper_attr("problems") else None

    def spaces(self) -> tuple[gym.Space[str], gym.Space[str]]:
        """Returns the spaces of observations and actions."""
        env = self.first("train")
        return env.observation_space, env.action_space

    def close(self) -> None:
        """Closes all of them."""
        for made in self._made.values():
            for env in made:
                env.close()
            made.clear()
        self._taken.clear()


def make_environment(env_id: str, options: Mapping[str, Any]) -> gym.Env[str, str]:
    """Makes one environment.

    Raises:
        UserError: If there is none of this id, or it does not take one of the options.
    """
    module, colon, _ = env_id.partition(":")
    if env_id.count(":") > 1 or (colon and not all(part.isidentifier() for part in module.split("."))):
        raise UserError(f"--env {env_id!r}: write it as id, or module:id.")
    for name, value in options.items():
        if not isinstance(name, str) or name in _OF_MAKE:
            raise UserError(f"--env {env_id!r}: {name!r} is no option of an environment (--env-option).")
        if name == "max_episode_steps" and not (value is None or (fits(value, int) and (value >= 1 or value == -1))):
            raise UserError(f"--env-option {name}={value!r}: it must be an int >= 1, or -1 for no limit.")
    try:
        return gym.make(env_id, disable_env_checker=True, **options)
    except (gym.error.Error, ModuleNotFoundError) as error:
        raise UserError(
            f"--env {env_id!r}: {error}. One of your own is named with the module that registers it with Gymnasium, "
            "package.module:Name-v0; ray.tune.register_env is not asked."
        ) from error
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise UserError(
            f"--env {env_id!r} does not take one of {dict(options)} (--env-option, --eval-env-option): {error}"
        ) from error


def reset_alike(group: Sequence[gym.Env[str, str]], reset: GroupReset) -> tuple[str, dict[str, Any]]:
    """Resets the environments of a group; returns their observation, and the first one's info.

    Raises:
        UserError: If they pose different problems, or none in words.
    """
    posed = [env.reset(seed=reset.seed, options=reset.options) for env in group]
    for returned in posed:
        if not isinstance(returned, tuple) or len(returned) != 2 or not isinstance(returned[0], str):
            raise UserError(
                f"--env {group[0].spec.id if group[0].spec else group[0]}: reset() returned {returned!r:.60}, not (a "
                "text, a dictionary)."
            )
    if (different := len({observation for observation, _ in posed})) > 1:
        raise UserError(
            f"{group[0].spec.id if group[0].spec else group[0]}: environments reset with seed={reset.seed} and "
            f"options={reset.options} pose {different} different problems. A group needs one: draw the problem "
            "from self.np_random after super().reset(seed=seed)."
        )
    return posed[0]


def resolved_options(env_id: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options with what those such as dataset="auto" resolve to here, so that all workers agree.

    An environment that has such options names their resolved values in `resolved_options`.
    """
    env = make_environment(env_id, options)
    resolved = env.get_wrapper_attr("resolved_options") if env.has_wrapper_attr("resolved_options") else {}
    env.close()
    return {**options, **resolved}
