"""What the environments share: the options of ``gym.make``, the options of ``reset``, actions, infos and rendering."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.error import InvalidAction

from gsm8k_env.choices import check_choice
from gsm8k_env.grading import GRADING_MODES, Grade, GradingMode, grade
from gsm8k_env.problems import ProblemSet, load_problems
from gsm8k_env.prompts import instruction_text, join_prompt
from gsm8k_env.rows import ANSWER_MARK
from gsm8k_env.spaces import MAX_PROMPT_LENGTH

TERMINAL_OBSERVATION = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the options of ``gym.make`` come to; shared by the environments.

    Attributes:
        problems: The problems of the split.
        instruction: The text after each question; may be empty.
        grading: The name of the grading mode.
    """

    problems: ProblemSet
    instruction: str
    grading: GradingMode

    @classmethod
    def from_options(cls, *, split: str, dataset: str, grading: str, instruction: str) -> "Task":
        """Checks the options and loads the problems.

        Raises:
            ValueError: An option is unknown, the data cannot be loaded, or a prompt would not fit into the space.
        """
        mode = check_choice("grading", grading, GRADING_MODES)
        text = instruction_text(instruction)
        problems = load_problems(split, dataset)
        longest = len(join_prompt("x" * problems.longest_question, text))
        if longest > MAX_PROMPT_LENGTH:
            raise ValueError(
                f"The longest question of {problems.dataset} with its instruction has {longest:,} characters, but an "
                f"observation has at most {MAX_PROMPT_LENGTH:,}: shorten the question or the instruction."
            )
        return cls(problems=problems, instruction=text, grading=mode)

    def prompt(self, index: int) -> str:
        """Returns the user message for the problem at ``index``."""
        return join_prompt(self.problems.questions[index], self.instruction)

    def solution(self, index: int) -> str:
        r"""Returns the worked solution of the problem at ``index``, its answer marked as the prompt asks for it.

        The data marks it "#### 18"; where ``\boxed{}`` is asked for, or nothing else is graded, it ends in it.
        """
        solution = self.problems[index].solution
        if self.grading == "boxed" or (self.grading == "flexible" and r"\boxed" in self.instruction):
            steps = solution.rpartition(ANSWER_MARK)[0]
            return rf"{steps}\boxed{{{self.problems.ground_truths[index]}}}"
        return solution

    def grade(self, completion: str, index: int) -> Grade:
        """Returns the grade of an answer to the problem at ``index``."""
        return grade(completion, self.problems.ground_truths[index], self.grading)

    def check_index(self, index: object) -> int:
        """Returns the index as an int.

        Raises:
            ValueError: It is not an integer from 0 to the number of problems less one.
        """
        size = len(self.problems)
        if isinstance(index, (int, np.integer)) and not isinstance(index, bool) and 0 <= index < size:
            return int(index)
        raise ValueError(
            f"options['index'] must be an integer from 0 to {size - 1}, one of the {size:,} {self.problems.split} "
            f"problems of {self.problems.dataset}; got {index!r}."
        )


class WithProblems:
    """An environment of a `Task`."""

    _task: Task

    @property
    def problems(self) -> ProblemSet:
        """The problems that ``reset`` chooses from."""
        return self._task.problems

    @property
    def num_problems(self) -> int:
        """How many problems there are: ``options={"index": i}`` takes 0 to this less one."""
        return len(self._task.problems)

    @property
    def resolved_options(self) -> dict[str, Any]:
        """The options of ``gym.make`` whose values depend on the machine, as what they came to on this one.

        A trainer makes one environment, and hands these to its workers.
        """
        return {"dataset": self._task.problems.dataset}


def index_option(options: dict[str, Any] | None) -> Any:
    """Returns ``options["index"]``, or None where it is not given.

    Raises:
        ValueError: There is another key.
    """
    for key in options or ():
        check_choice("reset option", key, ["index"])
    return (options or {}).get("index")


def check_action(action: object, where: str = "") -> None:
    """Checks that an action is a text.

    Raises:
        InvalidAction: It is not a str.
    """
    if not isinstance(action, str):
        raise InvalidAction(
            f"An action of GSM8K is a completion, a str; got {type(action).__name__}{where}. "
            "Decode token ids to text first."
        )


def step_info(result: Grade) -> dict[str, Any]:
    """Returns the ``step`` rows of the table under Information."""
    return {"correct": result.correct, "extracted": result.extracted, "method": result.method}


def dialogue(parts: Iterable[tuple[str, str | None]]) -> str:
    """Returns an episode so far as text to read, for ``render``: each part a heading and, unless None, a text."""
    return "\n\n".join(f"[{heading}]" if text is None else f"[{heading}]\n{text}" for heading, text in parts)
