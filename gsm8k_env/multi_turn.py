"""GSM8K in several turns: a wrong answer is told so, and may be tried again."""

from typing import Any

from gsm8k_env.choices import check_count
from gsm8k_env.env import GSM8KEnv
from gsm8k_env.prompts import DEFAULT_INSTRUCTION, FEEDBACK_NO_ANSWER, FEEDBACK_WRONG
from gsm8k_env.task import TERMINAL_OBSERVATION, step_info


class GSM8KMultiTurnEnv(GSM8KEnv):
    r"""A grade-school math word problem, with up to `max_turns` attempts to answer it.

    ## Description

    As `GSM8KEnv`, but an answer that is not right does not end the episode: the next observation says so, and the agent
    tries again.

    ```python
    >>> import gymnasium as gym
    >>> env = gym.make("gsm8k_env:GSM8KMultiTurn-v0", dataset="builtin", turn_discount=0.5)
    >>> observation, info = env.reset(seed=0, options={"index": 17})
    >>> env.step("I do not know.")[:4]
    ('No final answer was found. Try again.', 0.0, False, False)
    >>> env.step(f"#### {info['ground_truth']}")[:4]
    ('', 0.5, True, False)

    ```

    ## Action Space

    As `GSM8KEnv`'s: a `str`, one completion.

    ## Observation Space

    As `GSM8KEnv`'s: a `str`, the newest user message alone; the dialogue before it is the agent's to keep. The first is
    the question with the instruction. After a failed attempt it is the feedback: that the answer is wrong, or that none
    was found. It says nothing of the right answer, not even whether it is larger or smaller. The observation after the
    last step is the empty text.

    ## Starting State

    As `GSM8KEnv`'s.

    ## Rewards

    `turn_discount ** k` for a right answer after k failed attempts, 0.0 for any other attempt. An episode has at most
    one reward that is not 0, so its return is between 0 and 1.

    ## Episode End

    The episode terminates with the first right answer, or with attempt number `max_turns`. The number of attempts is a
    rule of the task, not a time limit from outside, so no value is left to estimate beyond it: the last failed attempt
    terminates too, and the episode is never truncated. A further step raises `gymnasium.error.ResetNeeded`.

    ## Information

    As `GSM8KEnv`'s, of the problem and of the newest attempt, and

    | from            | key    | type    | value                                                         |
    |-----------------|--------|---------|---------------------------------------------------------------|
    | `reset`, `step` | `turn` | **int** | attempts made so far: 0 after `reset`, 1 after the first step |

    ## Arguments

    | Parameter       | Type      | Default | Description                                                          |
    |-----------------|-----------|---------|----------------------------------------------------------------------|
    | `max_turns`     | **int**   | `3`     | attempts at a problem, at least 1; with 1 it ends as `GSM8K-v0` does |
    | `turn_discount` | **float** | `1.0`   | factor of the reward for each failed attempt before, in (0, 1]       |

    and those of `GSM8KEnv`.

    ## Vectorized environment

    `gym.make_vec("GSM8KMultiTurn-v0", num_envs=8)` makes Gymnasium's `SyncVectorEnv`.

    ## Version History

    * v0: Initial version.
    """

    def __init__(
        self,
        split: str = "train",
        dataset: str = "auto",
        grading: str = "flexible",
        instruction: str = DEFAULT_INSTRUCTION,
        render_mode: str | None = None,
        *,
        max_turns: int = 3,
        turn_discount: float = 1.0,
    ) -> None:
        if not 0 < turn_discount <= 1:
            raise ValueError(f"turn_discount={turn_discount!r}, but it must be above 0 and at most 1.")
        super().__init__(split, dataset, grading, instruction, render_mode)
        self.max_turns = check_count("max_turns", max_turns)
        self.turn_discount = float(turn_discount)
        self._turn = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Poses a problem; see ``GSM8KEnv.reset``."""
        observation, info = super().reset(seed=seed, options=options)
        self._turn = 0
        return observation, info | {"turn": self._turn}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Grades an attempt.

        Args:
            action: The completion.

        Returns:
            The feedback, or the empty text at the episode's end; the reward; whether that was the last attempt; False;
            and the ``step`` rows of the tables under Information.

        Raises:
            InvalidAction: The action is not a str.
            ResetNeeded: No problem is posed: before the first ``reset``, or after the episode's end.
        """
        result = self._attempt(action)
        reward = self.turn_discount**self._turn if result.correct else 0.0
        self._turn += 1
        self._over = result.correct or self._turn == self.max_turns
        observation = TERMINAL_OBSERVATION
        if not self._over:
            observation = FEEDBACK_NO_ANSWER if result.extracted is None else FEEDBACK_WRONG
            self._dialogue.append(("user", observation))
        return observation, reward, self._over, False, step_info(result) | {"turn": self._turn}
