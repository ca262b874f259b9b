"""GSM8K as a Gymnasium environment: one word problem, one answer, one reward."""

from typing import Any

import gymnasium as gym
from gymnasium.error import ResetNeeded

import gsm8k_env.shared_memory  # noqa: F401  (lets AsyncVectorEnv carry the observations)
from gsm8k_env.grading import Grade
from gsm8k_env.prompts import DEFAULT_INSTRUCTION
from gsm8k_env.spaces import MAX_COMPLETION_LENGTH, MAX_PROMPT_LENGTH, UnicodeText
from gsm8k_env.task import TERMINAL_OBSERVATION, Task, WithProblems, check_action, dialogue, index_option, step_info


class GSM8KEnv(WithProblems, gym.Env[str, str]):
    r"""A grade-school math word problem, to be answered in one message.

    ## Description

    Each episode is one problem of GSM8K ([Cobbe et al., 2021](https://arxiv.org/abs/2110.14168)): a few sentences
    that ask for one number. The agent reads the problem and writes its whole answer at once, usually some reasoning
    and then the number. The reward says whether the number is right.

    ```python
    >>> import gymnasium as gym
    >>> env = gym.make("gsm8k_env:GSM8K-v0", dataset="builtin")
    >>> observation, info = env.reset(seed=0, options={"index": 17})
    >>> observation, reward, terminated, truncated, info = env.step(rf"So it is \boxed{{{info['ground_truth']}}}.")
    >>> reward, terminated, truncated, info["method"]
    (1.0, True, False, 'boxed')

    ```

    ## Action Space

    A `str`, the completion: any Unicode text of up to 1,048,576 characters, the empty text included. A longer text is
    graded too. Anything but a str raises `gymnasium.error.InvalidAction`.

    ## Observation Space

    A `str` of up to 16,384 characters, the user message: the question, a space and the instruction. Any chat template
    is the agent's business. The observation after the step is the empty text: the dialogue is over.

    ## Starting State

    `reset(options={"index": i})` poses problem `i`, from 0 to `num_problems - 1`. Without an index, or with None, the
    environment's generator draws one, each equally likely, so equal seeds give equal problems. A given index leaves
    the generator as it is. Other options, and other indices, raise `ValueError`.

    A learner that wants shuffled epochs needs nothing else: an environment with a finite list of problems names its
    length as `num_problems` (through wrappers: `env.get_wrapper_attr("num_problems")`) and accepts an index.

    ## Rewards

    1.0 if the completion's final answer equals the ground truth as a number, else 0.0. `grading` says where the final
    answer is looked for; `gsm8k_env.grading` has the rules.

    ## Episode End

    Every episode terminates after one step. It is never truncated. A second step raises `gymnasium.error.ResetNeeded`.

    ## Information

    | from    | key            | type            | value                                                        |
    |---------|----------------|-----------------|--------------------------------------------------------------|
    | `reset` | `question`     | **str**         | the question without the instruction                         |
    | `reset` | `ground_truth` | **str**         | the answer; not for the agent                                |
    | `reset` | `index`        | **int**         | the problem's place in its split                             |
    | `reset` | `split`        | **str**         | `"train"` or `"test"`                                        |
    | `reset` | `dataset`      | **str**         | the source in use, never `"auto"`                            |
    | `reset` | `num_steps`    | **int**         | the solution's annotated calculations; 0 where it has none   |
    | `step`  | `correct`      | **bool**        | whether the reward is 1.0                                    |
    | `step`  | `extracted`    | **str or None** | the final answer that was found, None if there is none       |
    | `step`  | `method`       | **str or None** | the form it was found in                                     |

    ## Arguments

    | Parameter     | Type    | Default      | Description                                                            |
    |---------------|---------|--------------|------------------------------------------------------------------------|
    | `split`       | **str** | `"train"`    | `"train"` or `"test"`                                                  |
    | `dataset`     | **str** | `"auto"`     | where the problems come from, see below                                |
    | `grading`     | **str** | `"flexible"` | `"flexible"`, `"strict"` (only `####`) or `"boxed"` (only `\boxed{}`)  |
    | `instruction` | **str** | `"hash"`     | `"hash"`, `"boxed"`, `"none"`, or a text of more than one word         |
    | `render_mode` | **str** | `None`       | `"ansi"`: `render` returns the dialogue as text                        |

    The values of `dataset`:

    - `"auto"`: what the environment variable `GSM8K_DATASET` names, else `openai/gsm8k` from the Hugging Face hub or
      its local cache, else generated problems with a warning.
    - `"builtin"`: generated problems, 7,473 for training and 1,319 for testing. `"builtin:1-2"` keeps levels 1 and 2
      of 5, `"builtin:3"` level 3; `"builtin:1-2:60000"` has 60,000 for training.
    - A path to a .jsonl or .parquet file or to a folder of them, in the official layout or in the one that
      `python -m gsm8k_env.prepare` writes.
    - `"openai/gsm8k"`, or the id of another data set on the hub in one of these layouts.
    - `"auto:2"`, `"openai/gsm8k:1-3"`, a path and `":2"`: the problems whose solutions have so many steps, lines with
      an annotated calculation such as `<<48/2=24>>`.

    A name other than `"auto"` that cannot be loaded raises `ValueError`.

    ## Vectorized environment

    `gym.make_vec("GSM8K-v0", num_envs=8)` makes `gsm8k_env.vector.GSM8KVectorEnv`, which resets in the same step.

    ## Version History

    * v0: Initial version.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012  (as Gymnasium declares it)

    def __init__(
        self,
        split: str = "train",
        dataset: str = "auto",
        grading: str = "flexible",
        instruction: str = DEFAULT_INSTRUCTION,
        render_mode: str | None = None,
    ) -> None:
        self._task = Task.from_options(split=split, dataset=dataset, grading=grading, instruction=instruction)
        self.observation_space = UnicodeText(MAX_PROMPT_LENGTH)
        self.action_space = UnicodeText(MAX_COMPLETION_LENGTH)
        self.render_mode = render_mode
        self._index: int | None = None
        self._over = True
        self._dialogue: list[tuple[str, str | None]] = []

    @property
    def solution(self) -> str:
        """The worked solution of the problem posed, in the form that earns the reward; not for the agent.

        Raises:
            ResetNeeded: No problem has been posed yet.
        """
        if self._index is None:
            raise ResetNeeded("There is no solution before reset().")
        return self._task.solution(self._index)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Poses a problem.

        Args:
            seed: Seeds the generator that draws problems.
            options: ``{"index": i}`` poses problem ``i``; nothing else is allowed.

        Returns:
            The user message, and the ``reset`` rows of the table under Information.

        Raises:
            ValueError: An option is unknown, or the index is not one of the problems.
        """
        index = index_option(options)
        if index is not None:
            index = self._task.check_index(index)
        super().reset(seed=seed)
        self._index = int(self.np_random.integers(self.num_problems)) if index is None else index
        self._over = False
        prompt = self._task.prompt(self._index)
        self._dialogue = [("user", prompt)]
        return prompt, self._reset_info(self._index)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Grades a completion and ends the episode.

        Args:
            action: The completion.

        Returns:
            The empty text, 1.0 or 0.0, True, False, and the ``step`` rows of the table under Information.

        Raises:
            InvalidAction: The action is not a str.
            ResetNeeded: No problem is posed: before the first ``reset``, or after the episode's one step.
        """
        result = self._attempt(action)
        self._over = True
        return TERMINAL_OBSERVATION, float(result.correct), True, False, step_info(result)

    def render(self) -> str | None:  # type: ignore[override]  # Gymnasium's annotation omits the "ansi" mode's str
        """Returns the dialogue so far as text, if ``render_mode="ansi"``.

        Raises:
            ResetNeeded: No problem has been posed yet.
        """
        if self.render_mode is None:
            gym.logger.warn('render() returns nothing without a render mode: gym.make("GSM8K-v0", render_mode="ansi").')
            return None
        if self._index is None:
            raise ResetNeeded("There is nothing to render before reset().")
        return dialogue(self._dialogue)

    def _attempt(self, completion: str) -> Grade:
        """Grades a completion, and adds both to the dialogue.

        Raises:
            InvalidAction: It is not a str.
            ResetNeeded: No problem is posed.
        """
        if self._over or self._index is None:
            raise ResetNeeded("No problem is posed: call reset() first, and again after each episode's last step().")
        check_action(completion)
        result = self._task.grade(completion, self._index)
        verdict = "correct" if result.correct else "wrong"
        self._dialogue += [("assistant", completion), (f"{verdict}: {result.extracted}", None)]
        return result

    def _reset_info(self, index: int) -> dict[str, Any]:
        problems = self._task.problems
        return {
            "question": problems.questions[index],
            "ground_truth": problems.ground_truths[index],
            "index": index,
            "split": problems.split,
            "dataset": problems.dataset,
            "num_steps": int(problems.num_steps[index]),
        }
