"""Where problems come from: the hub, a local file or folder, or the generator that ships with the package."""

import functools
import hashlib
import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from gsm8k_env import builtin
from gsm8k_env.builtin import SPLITS
from gsm8k_env.choices import check_choice
from gsm8k_env.hub import HUB_ID, HubUnavailableError, read_hub
from gsm8k_env.problem_files import SUFFIXES, read_files, split_files
from gsm8k_env.rows import Problem, ground_truth_of

__all__ = ["DATASET_VARIABLE", "SPLITS", "Problem", "ProblemSet", "load_problems", "resolve_dataset"]

DATASET_VARIABLE = "GSM8K_DATASET"

# As many as the official data has, so that an epoch and a test run cost the same on both.
_BUILTIN_SIZES = {"train": 7473, "test": 1319}
_MOST_BUILTIN = 1_000_000  # half a minute and a gigabyte
_BUILTIN = re.compile(r"builtin(?::([1-5])(?:-([1-5]))?(?::([1-9]\d*))?)?")
# Behind any other source: "openai/gsm8k:2" and "data/gsm8k:1-3" keep the problems of so many steps.
_STEPS = re.compile(r"(.+):([1-9]\d?)(?:-([1-9]\d?))?", re.DOTALL)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)

_HOW_TO_GET_DATA = (
    f"To use the official data, allow access to the hub once, or set {DATASET_VARIABLE} (or dataset=...) to a folder "
    "with train.jsonl and test.jsonl from https://github.com/openai/grade-school-math. "
    'dataset="builtin" chooses the generated problems on purpose.'
)


class ProblemSet(Sequence[Problem]):
    """The problems of one split, in a fixed order; never changed after it is made.

    Copies share it, and it is pickled as its name and loaded again, so environments can be copied and sent to other
    processes without their data.

    Args:
        problems: The problems, in order.
        dataset: The source's explicit name, never "auto".
        split: "train" or "test".

    Attributes:
        dataset: The source's explicit name: "builtin", "openai/gsm8k", a path.
        split: "train" or "test".
        fingerprint: sha256 over all problems, in hexadecimal: equal for equal content in equal order.
        longest_question: The greatest number of characters in a question.
        questions: [len] the questions, an array of objects.
        ground_truths: [len] the answers, an array of objects.
        num_steps: [len] int64, `Problem.num_steps` of each.
    """

    def __init__(self, problems: Sequence[Problem], *, dataset: str, split: str) -> None:
        self._problems = tuple(problems)
        self.dataset = dataset
        self.split = split
        self.fingerprint = _fingerprint(self._problems)
        self.questions = _frozen_array([problem.question for problem in self._problems])
        self.ground_truths = _frozen_array([problem.ground_truth for problem in self._problems])
        self.num_steps = _read_only(np.array([problem.num_steps for problem in self._problems], dtype=np.int64))
        self.longest_question = max(map(len, self.questions), default=0)

    def __len__(self) -> int:
        return len(self._problems)

    @overload
    def __getitem__(self, index: int) -> Problem: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Problem]: ...
    def __getitem__(self, index: int | slice) -> Problem | Sequence[Problem]:
        return self._problems[index]

    def __copy__(self) -> "ProblemSet":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "ProblemSet":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _reload, (self.split, self.dataset, self.fingerprint)

    def __repr__(self) -> str:
        return f"ProblemSet({len(self):,} {self.split} problems of {self.dataset}, sha256 {self.fingerprint[:12]})"


def load_problems(split: str = "train", dataset: str | os.PathLike[str] = "auto") -> ProblemSet:
    """Returns the problems of a split; the same object for the same source within a process.

    Args:
        split: "train" or "test".
        dataset: As in ``resolve_dataset``.

    Raises:
        ValueError: There is no such split or source, or it cannot be loaded; for a bad file the message names file,
            row (from 1) and column. An explicit name never falls back to another source.

    >>> problems = load_problems("test", "builtin:1-2")
    >>> len(problems), problems.dataset, problems[0].solution.splitlines()[-1] == "#### " + problems[0].ground_truth
    (1319, 'builtin:1-2', True)
    """
    known = check_choice("split", split, SPLITS)
    name = resolve_dataset(dataset)
    source, _ = _source_and_steps(name)
    if not os.path.isabs(source):
        return _load(known, name, ())
    files = split_files(Path(source), known)
    # A file written anew under the same name is another source.
    stamp = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files)
    return _load(known, name, stamp)


def resolve_dataset(dataset: str | os.PathLike[str] = "auto") -> str:
    """Returns the explicit name of a source, the one to hand to other processes and to note beside results.

    Args:
        dataset: One of
            "auto": what the environment variable GSM8K_DATASET names, if it is set; else the hub's copy of
            openai/gsm8k or its local cache; else the generated problems, with a warning.
            "builtin", "builtin:3", "builtin:1-2": generated problems, of all levels or of these (1 to 5), as many as
            GSM8K has; "builtin:1-2:60000" has that many for training.
            A path to a .jsonl or .parquet file or to a folder of them (see ``split_files``).
            The id of a data set on the hub, such as "openai/gsm8k". Any other id that is also a local path is the path.
            Any of them but a built-in one with ":2" or ":1-3" behind it: the problems whose solutions have so many
            steps (`Problem.num_steps`), as "builtin:2" has. A path of that very name comes first.

    Raises:
        ValueError: It is none of these, or no such path exists.

    >>> resolve_dataset("builtin:1-5"), resolve_dataset("openai/gsm8k:2-2")
    ('builtin', 'openai/gsm8k:2')
    """
    name = os.fspath(dataset) if isinstance(dataset, (str, os.PathLike)) else None
    if not isinstance(name, str) or not name:
        raise ValueError(f"dataset must be a name or a path, got {dataset!r}.")
    source, steps = _source_and_steps(name)
    if source != "auto":
        return _resolve_explicit(name)
    return _resolve_auto() if steps is None else _with_steps(_resolve_auto(), steps, name)


def _source_and_steps(name: str) -> tuple[str, tuple[int, int] | None]:
    """Returns the source in a name, and the first and last number of steps behind it; None where there is none."""
    found = _STEPS.fullmatch(name)
    if found is None or name.startswith("builtin:") or Path(name).expanduser().exists():
        return name, None
    return found[1], (int(found[2]), int(found[3] or found[2]))


def _with_steps(resolved: str, steps: tuple[int, int], name: str) -> str:
    """Returns the explicit name of a source's problems of so many steps; `name` is what was asked for."""
    first, last = steps
    if first > last:
        raise ValueError(f"{name!r}: steps run from low to high, ':{last}-{first}'.")
    wanted = f":{first}" + (f"-{last}" if first != last else "")
    if resolved == "builtin":
        return _resolve_explicit(resolved + wanted)
    if _BUILTIN.fullmatch(resolved) or _source_and_steps(resolved)[1]:
        raise ValueError(f"{name!r} asks for {wanted!r} of {resolved!r}, which has its numbers of steps already.")
    return resolved + wanted


def _resolve_auto() -> str:
    """Returns the explicit name of "auto"."""
    chosen = os.environ.get(DATASET_VARIABLE, "")
    if not chosen:
        return _hub_or_builtin()
    try:
        return _resolve_explicit(chosen)
    except ValueError as error:
        raise ValueError(
            f"The environment variable {DATASET_VARIABLE}={chosen!r} names no data set: {error}"
        ) from error


def _resolve_explicit(name: str) -> str:
    levels = _BUILTIN.fullmatch(name)
    if levels:
        return _builtin_name(*levels.groups())
    source, steps = _source_and_steps(name)
    if steps is not None:
        return _with_steps(_resolve_explicit(source), steps, name)
    if name == HUB_ID:
        return name
    path = Path(name).expanduser()
    if path.exists():
        return str(path.resolve())
    if path.suffix in SUFFIXES or name.startswith((".", "~", os.sep)):
        raise ValueError(f"There is no file or folder {path}.")
    if _HUB_ID.fullmatch(name):
        return name
    raise ValueError(
        f"Unknown dataset {name!r}: neither 'auto', 'builtin', 'builtin:1-2' (levels 1 to 5), an id on the hub such as "
        f"{HUB_ID!r}, nor an existing file or folder."
    )


def _builtin_name(first: str | None, last: str | None, count: str | None) -> str:
    first, last = first or "1", last or first or "5"
    if first > last:
        raise ValueError(f"Levels run from low to high: 'builtin:{last}-{first}' instead of 'builtin:{first}-{last}'.")
    if count and int(count) > _MOST_BUILTIN:
        raise ValueError(f"builtin:...:{count} asks for too many problems: at most {_MOST_BUILTIN:,} are generated.")
    if (first, last, count) == ("1", "5", None):
        return "builtin"
    return f"builtin:{first}" + (f"-{last}" if first != last else "") + (f":{count}" if count else "")


def _hub_or_builtin() -> str:
    try:
        _load("train", HUB_ID, ())
    except HubUnavailableError as error:
        warnings.warn(f"Using generated problems, not GSM8K. {error}", UserWarning, stacklevel=4)
        return "builtin"
    return HUB_ID


@functools.lru_cache(maxsize=16)
def _load(split: builtin.Split, name: str, stamp: tuple[tuple[str, int, int], ...]) -> ProblemSet:
    levels = _BUILTIN.fullmatch(name)
    source, steps = _source_and_steps(name)
    if levels:
        problems = _generate(split, *levels.groups())
    elif stamp:
        problems = read_files([Path(path) for path, _, _ in stamp])
    else:
        problems = _hub_problems(source, split)
    if steps is not None:
        problems = _of_steps(problems, *steps, name=name, split=split)
    return ProblemSet(problems, dataset=name, split=split)


def _of_steps(problems: Sequence[Problem], first: int, last: int, *, name: str, split: str) -> list[Problem]:
    """Returns the problems of so many steps, in their order.

    Raises:
        ValueError: There are none; the message says which numbers there are.
    """
    kept = [problem for problem in problems if first <= problem.num_steps <= last]
    if not kept:
        counts = Counter(problem.num_steps for problem in problems)
        found = ", ".join(f"{counts[steps]:,} of {steps}" for steps in sorted(counts))
        raise ValueError(f"dataset={name!r}: no {split} problem has that many steps; there are {found}.")
    return kept


def _hub_problems(name: str, split: str) -> list[Problem]:
    try:
        return read_hub(name, split)
    except HubUnavailableError as error:
        raise HubUnavailableError(f"{error} {_HOW_TO_GET_DATA}") from error


def _generate(split: builtin.Split, first: str | None, last: str | None, count: str | None) -> list[Problem]:
    size = int(count) if count and split == "train" else _BUILTIN_SIZES[split]
    levels = tuple(range(int(first or 1), int(last or first or 5) + 1))
    return [
        Problem(question=draft.question, solution=draft.solution, ground_truth=ground_truth_of(draft.solution))
        for draft in builtin.generate(split, count=size, levels=levels)
    ]


def _reload(split: str, dataset: str, fingerprint: str) -> ProblemSet:
    problems = load_problems(split, dataset)
    if problems.fingerprint != fingerprint:
        raise ValueError(
            f"The {split} split of {dataset} is not what it was when this object was pickled (sha256 then "
            f"{fingerprint[:12]}, now {problems.fingerprint[:12]}): restore that data, or make the environment anew."
        )
    return problems


def _fingerprint(problems: Sequence[Problem]) -> str:
    digest = hashlib.sha256()
    for problem in problems:
        # JSON keeps the borders between the three texts, so no two different sets hash alike.
        digest.update(json.dumps([problem.question, problem.solution, problem.ground_truth]).encode() + b"\n")
    return digest.hexdigest()


def _frozen_array(texts: list[str]) -> np.ndarray:
    return _read_only(np.array(texts, dtype=object))


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
