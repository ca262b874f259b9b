"""An episode while it is sampled: a text environment on one side, a growing sequence of token ids on the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np

from agents import Agent, Completion
from runners.sampling.rollout import Rollout
from runners.support.errors import UserError, users_mistakes


class Episode:
    """Prompt, completion, the user's next message, completion, ... until the environment ends it.

    Ids that stand are never encoded again: the policy goes on from the tokens it sampled, and is trained on them.

    Args:
        env: The environment, already reset.
        group_id: The group it belongs to.
        member: Its number in the group, from 0.
        observation: What `reset` returned.
        info: Likewise.
        prompt: Its token ids.

    Attributes:
        env: The environment.
        token_ids: All ids so far; what the agent completes next.
    """

    def __init__(
        self,
        env: gym.Env[str, str],
        *,
        group_id: int,
        member: int,
        observation: str,
        info: Mapping[str, Any],
        prompt: Sequence[int],
    ) -> None:
        self.group_id = group_id
        self.member = member
        self.token_ids = list(prompt)
        self.env = env
        self._observations = [observation]
        self._reset_info = self._step_info = info
        self._num_prompt_tokens = len(prompt)
        self._completions: list[Completion] = []
        self._mask: list[bool] = []
        self._logprobs: list[float] = []
        self._versions: list[int] = []
        self._reward = 0.0
        self._ended = self._cut = False

    @property
    def turn(self) -> int:
        """Completions so far."""
        return len(self._completions)

    def take(self, completion: Completion) -> bool:
        """Appends the agent's completion; returns whether the environment is to be stepped.

        One that the engine aborted ends the episode, unseen by the environment: its reward is missing.
        """
        self._completions.append(completion)
        self._append(completion.token_ids, own=True, logprobs=completion.logprobs)
        self._versions += completion.policy_versions or [completion.policy_version] * len(completion.token_ids)
        if completion.finish_reason == "abort":
            self.lose()
        return not self._ended

    def step(self) -> Any:
        """Gives the environment the last completion's text and returns its answer, for `answer`."""
        return self.env.step(self._completions[-1].text)

    def lose(self) -> None:
        """Ends the episode without its reward."""
        self._reward, self._step_info, self._ended = math.nan, {}, True

    def answer(self, returned: Any) -> None:
        """Takes what the environment's `step` returned.

        Raises:
            UserError: If it is something else than Gymnasium's five values, with a text and a number.
        """
        observation, reward, terminated, truncated, info = self._checked(returned)
        self._reward += reward
        self._step_info = info
        self._ended = terminated or truncated
        self._observations.append(observation)

    def begin_turn(self, agent: Agent, max_tokens: int) -> bool:
        """Appends the user's next message; returns False where there is none, or no room for another turn.

        Args:
            agent: It encodes the message.
            max_tokens: The turn begins only if the ids, the message's included, stay below this many.
        """
        if self._ended:
            return False
        with users_mistakes():  # of the model's chat template
            message = agent.encode_next(self.token_ids, self._observations[-1])
        if len(self.token_ids) + len(message) >= max_tokens:
            self._cut = True
            return False
        self._append(message, own=False, logprobs=[0.0] * len(message))
        self._versions += [self._completions[-1].policy_version] * len(message)
        return True

    def rollout(self) -> Rollout:
        """Returns what came of the episode."""
        return Rollout(
            group_id=self.group_id,
            observation=self._observations[0],
            text=self._text(),
            prompt_token_ids=tuple(self.token_ids[: self._num_prompt_tokens]),
            completion_token_ids=tuple(self.token_ids[self._num_prompt_tokens :]),
            completion_mask=np.array(self._mask, dtype=np.bool_),
            rollout_logprobs=np.array(self._logprobs, dtype=np.float32),
            policy_version=self._completions[0].policy_version,
            policy_versions=np.array(self._versions) if len(set(self._versions)) > 1 else None,
            reward=self._reward,
            correct=bool(self._step_info["correct"]) if "correct" in self._step_info else None,
            finish_reason="length" if self._cut else self._completions[-1].finish_reason,
            turn_lengths=tuple(len(completion.token_ids) for completion in self._completions),
            info=_plain({**self._reset_info, **self._step_info}),
        )

    def _checked(self, returned: Any) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Returns what `step` of the environment returned, once it is what Gymnasium says; NaN is a missing reward."""
        if not isinstance(returned, tuple) or len(returned) != 5:
            found = f"{len(returned)} values" if isinstance(returned, tuple) else type(returned).__name__
            raise self._wrong(f"{found}, not (observation, reward, terminated, truncated, info)")
        observation, reward, terminated, truncated, info = returned
        if not isinstance(observation, str):
            raise self._wrong(f"the observation {observation!r:.60}, not a text")
        if not isinstance(reward, SupportsFloat) or math.isinf(float(reward)):
            raise self._wrong(f"the reward {reward!r:.60}, not a finite number (or NaN, where there is none)")
        return observation, float(reward), terminated, truncated, info

    def _wrong(self, what: str) -> UserError:
        name = self.env.spec.id if self.env.spec else type(self.env.unwrapped).__name__
        return UserError(f"The environment {name}: step() returned {what}.")

    def _append(self, token_ids: Sequence[int], *, own: bool, logprobs: Sequence[float]) -> None:
        self.token_ids += token_ids
        self._mask += [own] * len(token_ids)
        self._logprobs += logprobs

    def _text(self) -> str:
        first, *later = self._completions
        turns = zip(self._observations[1:], later, strict=False)  # the last observation has no answer
        return first.text + "".join(
            f"\n\n[user]\n{observation}\n\n[assistant]\n{completion.text}" for observation, completion in turns
        )


def _plain(info: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in info.items() if isinstance(value, (str, int, float, bool, type(None)))}
