"""A problem, and how it is read from a row of a file or of the hub.

Two layouts are known. The official one has the columns ``question`` and ``answer``. The prepared one, which
``gsm8k_env.prepare`` writes and SkyRL reads, has ``prompt``, ``reward_spec`` and ``extra_info``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gsm8k_env.grading import grade

ANSWER_MARK = "####"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One word problem.

    Attributes:
        question: The problem's text.
        solution: The worked solution; in the official data its last line is "#### " and the answer.
        ground_truth: The answer alone, as text without thousands separators.
    """

    question: str
    solution: str
    ground_truth: str

    @property
    def num_steps(self) -> int:
        """How many lines of the solution have a calculation in the data's annotation, ``<<48/2=24>>``.

        0 where nothing is annotated, as in 95 training and 18 test problems of GSM8K, which have steps all the same.
        """
        return sum("<<" in line for line in self.solution.splitlines())


def ground_truth_of(solution: str) -> str:
    """Returns the answer that stands after a solution's last "####", without commas and surrounding space.

    Raises:
        ValueError: The solution has no such mark, or no number after it.

    >>> ground_truth_of("6 * 200 = 1200 #### 1,200")
    '1200'
    """
    _, mark, answer = solution.rpartition(ANSWER_MARK)
    if not mark:
        raise ValueError(f'no "{ANSWER_MARK} <number>" in the solution {_shorten(solution)}')
    return _checked_number(answer.replace(",", "").strip())


def problem_from_row(row: object, *, where: str) -> Problem:
    """Returns the problem in a row of either layout.

    Args:
        row: The row, a mapping from column names.
        where: The file and the row's number, for messages.

    Raises:
        ValueError: The row is not a mapping, or a column is missing or wrong; the message names file, row and column.
    """
    if not isinstance(row, Mapping):
        raise ValueError(f"{where}: expected an object with columns, got {type(row).__name__}.")
    if "question" in row:
        return _from_official(row, where)
    if "extra_info" in row or "reward_spec" in row:
        return _from_prepared(row, where)
    raise ValueError(
        f'{where}: column "question" is missing. A row has "question" and "answer" (the official layout) or "prompt", '
        f'"reward_spec" and "extra_info" (what `python -m gsm8k_env.prepare` writes); this one has {sorted(row)}.'
    )


def _from_official(row: Mapping[str, object], where: str) -> Problem:
    solution = _text(row, "answer", where)
    try:
        ground_truth = ground_truth_of(solution)
    except ValueError as error:
        raise ValueError(f'{where}, column "answer": {error}.') from error
    return Problem(question=_text(row, "question", where), solution=solution, ground_truth=ground_truth)


def _from_prepared(row: Mapping[str, object], where: str) -> Problem:
    extra, spec = (_group(row, column, where) for column in ("extra_info", "reward_spec"))
    ground_truth = _text(spec, "ground_truth", where, prefix="reward_spec.")
    try:
        _checked_number(ground_truth)
    except ValueError as error:
        raise ValueError(f'{where}, column "reward_spec.ground_truth": {error}.') from error
    return Problem(
        question=_text(extra, "question", where, prefix="extra_info."),
        solution=_text(extra, "answer", where, prefix="extra_info."),
        ground_truth=ground_truth,
    )


def _group(row: Mapping[str, object], column: str, where: str) -> Mapping[str, object]:
    value = row.get(column)
    if not isinstance(value, Mapping):
        raise ValueError(f'{where}, column "{column}": expected an object, got {_shorten(value)}.')
    return value


def _text(row: Mapping[str, object], column: str, where: str, prefix: str = "") -> str:
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f'{where}, column "{prefix}{column}": expected a text, got {_shorten(value)}.')
    try:
        value.encode()
    except UnicodeEncodeError as error:  # no tokenizer takes it, and no file
        raise ValueError(
            f'{where}, column "{prefix}{column}": half a surrogate pair at character {error.start + 1} of '
            f"{_shorten(value)}."
        ) from error
    return value


def _checked_number(answer: str) -> str:
    try:
        grade("", answer)
    except ValueError as error:
        raise ValueError(f"the answer {_shorten(answer)} is not a number") from error
    return answer


def _shorten(value: object, length: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= length else text[:length] + "..."
