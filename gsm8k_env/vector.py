"""GSM8K's own vector form: it grades a batch of completions and poses the next problems in one step."""

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from gsm8k_env.choices import check_count
from gsm8k_env.grading import Grade, grade
from gsm8k_env.prompts import DEFAULT_INSTRUCTION
from gsm8k_env.spaces import MAX_COMPLETION_LENGTH, MAX_PROMPT_LENGTH, UnicodeText
from gsm8k_env.task import TERMINAL_OBSERVATION, Task, WithProblems, check_action, dialogue, index_option

_BLOCK = 64


class GSM8KVectorEnv(WithProblems, VectorEnv[tuple[str, ...], Sequence[str] | np.ndarray, np.ndarray]):
    """``num_envs`` independent copies of ``GSM8KEnv``, stepped together.

    It behaves as Gymnasium's ``SyncVectorEnv`` with ``AutoresetMode.SAME_STEP`` does over the same environments, and
    equally seeded the two give equal observations, rewards and infos. No step is lost to resets: every ``step`` grades
    ``num_envs`` completions, and the observations it returns are the next problems. The ended episodes' ``correct``,
    ``extracted`` and ``method`` are in ``infos["final_info"]``. With ``NEXT_STEP`` every second step would only reset;
    for a script that wants it, ``gym.make_vec(..., vectorization_mode="sync")`` is Gymnasium's own form.

    ```python
    >>> import gymnasium as gym
    >>> envs = gym.make_vec("gsm8k_env:GSM8K-v0", num_envs=2, dataset="builtin")
    >>> observations, infos = envs.reset(seed=0, options={"index": [4, None]})
    >>> answers = [f"#### {answer}" for answer in infos["ground_truth"]]
    >>> observations, rewards, terminations, truncations, infos = envs.step(answers)
    >>> rewards, infos["final_info"]["method"]
    (array([1., 1.]), array(['hash', 'hash'], dtype=object))

    ```

    Args:
        num_envs: The number of environments N.
        split: As in ``GSM8KEnv``, like the four that follow.
        dataset: Where the problems come from.
        grading: The grading mode.
        instruction: The text after each question, or its name.
        render_mode: None or "ansi".

    Raises:
        ValueError: As in ``GSM8KEnv``, or ``num_envs`` is below 1.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (as Gymnasium declares it)
        "render_modes": ["ansi"],
        "render_fps": 1,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        split: str = "train",
        dataset: str = "auto",
        grading: str = "flexible",
        instruction: str = DEFAULT_INSTRUCTION,
        render_mode: str | None = None,
    ) -> None:
        self._task = Task.from_options(split=split, dataset=dataset, grading=grading, instruction=instruction)
        self.num_envs = check_count("num_envs", num_envs)
        self.render_mode = render_mode
        self.single_observation_space = UnicodeText(MAX_PROMPT_LENGTH)
        self.single_action_space = UnicodeText(MAX_COMPLETION_LENGTH)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._generators = [seeding.np_random() for _ in range(num_envs)]  # each with its seed
        self._ahead: list[list[int]] = [[] for _ in range(num_envs)]  # what each has drawn ahead, the next one last
        self._indices: np.ndarray | None = None  # [N] the problems posed now

    @property  # type: ignore[misc]  # read-only, and a tuple, as SyncVectorEnv has it
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The N generators that draw problems, up to 64 draws ahead of what was used."""
        return tuple(generator for generator, _ in self._generators)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]  # as SyncVectorEnv has it
        """The N seeds of these generators."""
        return tuple(seed for _, seed in self._generators)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Poses N problems.

        Args:
            seed: An int s seeds environment i with s + i; a sequence of N seeds them one by one, and None in it leaves
                that environment's generator as it is.
            options: ``{"index": i}`` poses problem ``i`` everywhere, ``{"index": [...]}`` one of N indices in each
                environment, where None lets it draw. Nothing else is allowed.

        Returns:
            The N user messages, and the ``reset`` rows of ``GSM8KEnv``'s table, each an array of N.

        Raises:
            ValueError: An option is unknown, an index is not one of the problems, or a sequence has not N entries.
        """
        indices = self._check_indices(index_option(options))
        fresh = {i: seeding.np_random(one) for i, one in enumerate(self._check_seeds(seed)) if one is not None}
        for i, generator in fresh.items():
            self._generators[i], self._ahead[i] = generator, []
        return self._pose([self._draw(i) if index is None else index for i, index in enumerate(indices)])

    def step(
        self, actions: Sequence[str] | np.ndarray
    ) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Grades N completions and poses the next N problems.

        Args:
            actions: [N] the completions.

        Returns:
            The next N user messages; [N] rewards, 1.0 or 0.0; [N] True; [N] False; and the infos: the ended episodes'
            under ``final_obs`` and ``final_info``, those of the next problems beside them.

        Raises:
            InvalidAction: There are not N actions, or one is not a str.
            ResetNeeded: ``reset`` has not been called yet.
        """
        if self._indices is None:
            raise ResetNeeded("Call reset() before the first step().")
        completions = self._check_actions(actions)
        truths = self._task.problems.ground_truths[self._indices]
        grades = list(map(grade, completions, truths, repeat(self._task.grading)))
        observations, reset_infos = self._pose(list(map(self._draw, range(self.num_envs))))
        correct = np.array([result.correct for result in grades], dtype=np.bool_)
        infos = self._final_infos(grades, correct) | reset_infos
        return observations, correct.astype(np.float64), self._flags(True), self._flags(False), infos

    def render(self) -> tuple[str, ...] | None:  # type: ignore[override]  # Gymnasium's annotation omits "ansi"
        """Returns the N dialogues as text, if ``render_mode="ansi"``; each holds the problem that is posed now.

        Raises:
            ResetNeeded: No problem has been posed yet.
        """
        if self.render_mode is None:
            gym.logger.warn("render() returns nothing without a render mode: pass render_mode='ansi' to make_vec.")
            return None
        if self._indices is None:
            raise ResetNeeded("There is nothing to render before reset().")
        return tuple(dialogue([("user", self._task.prompt(index))]) for index in self._indices)

    def _draw(self, i: int) -> int:
        """Returns what ``GSM8KEnv`` draws next from the same seed; in blocks: a draw alone takes a microsecond."""
        if not self._ahead[i]:
            self._ahead[i] = self._generators[i][0].integers(self.num_problems, size=_BLOCK)[::-1].tolist()
        return self._ahead[i].pop()

    def _pose(self, indices: list[int]) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Makes these the current problems; returns their user messages and infos."""
        self._indices = np.array(indices, dtype=np.int64)
        problems = self._task.problems
        infos = self._masked(
            question=problems.questions[self._indices],
            ground_truth=problems.ground_truths[self._indices],
            index=self._indices.copy(),
            split=np.full(self.num_envs, problems.split, dtype=object),
            dataset=np.full(self.num_envs, problems.dataset, dtype=object),
            num_steps=problems.num_steps[self._indices],
        )
        return tuple(map(self._task.prompt, indices)), infos

    def _final_infos(self, grades: list[Grade], correct: np.ndarray) -> dict[str, Any]:
        final_info = self._masked(
            correct=correct,
            extracted=np.array([result.extracted for result in grades], dtype=object),
            method=np.array([result.method for result in grades], dtype=object),
        )
        return self._masked(final_obs=np.full(self.num_envs, TERMINAL_OBSERVATION, dtype=object), final_info=final_info)

    def _masked(self, **values: Any) -> dict[str, Any]:
        """Returns the values, each followed by the mask that Gymnasium puts beside it; here every entry is filled."""
        infos: dict[str, Any] = {}
        for key, value in values.items():
            infos[key] = value
            infos[f"_{key}"] = self._flags(True)
        return infos

    def _flags(self, value: bool) -> np.ndarray:
        return np.full(self.num_envs, value, dtype=np.bool_)

    def _check_seeds(self, seed: int | Sequence[int | None] | None) -> Sequence[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int):
            return [seed + i for i in range(self.num_envs)]
        if not isinstance(seed, (list, tuple)) or len(seed) != self.num_envs:
            raise ValueError(f"seed must be an int or a list of num_envs={self.num_envs} ints or None, got {seed!r}.")
        return seed

    def _check_indices(self, index: Any) -> list[int | None]:
        if index is None:
            return [None] * self.num_envs
        if not isinstance(index, (list, tuple, np.ndarray)) or np.ndim(index) == 0:
            return [self._task.check_index(index)] * self.num_envs
        if len(index) != self.num_envs:
            raise ValueError(
                f"options['index'] must be one index or num_envs={self.num_envs} of them, got {len(index)} entries."
            )
        return [None if one is None else self._task.check_index(one) for one in index]

    def _check_actions(self, actions: Sequence[str] | np.ndarray) -> Sequence[str] | np.ndarray:
        if isinstance(actions, str) or len(actions) != self.num_envs:
            found = "one str" if isinstance(actions, str) else f"{len(actions)} entries"
            raise InvalidAction(f"step() takes num_envs={self.num_envs} completions, got {found}.")
        if set(map(type, actions)) != {str}:
            for i, action in enumerate(actions):
                check_action(action, where=f" for environment {i}")
        return actions
