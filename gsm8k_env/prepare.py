"""``python -m gsm8k_env.prepare --output_dir DIR``: the problems as train.parquet and validation.parquet.

The columns are those that SkyRL (``env_class``, ``reward_spec``) and verl (``ability``, ``reward_model``) read, so the
same two files serve their trainers, ``datasets`` and ``gym.make("GSM8K-v0", dataset=DIR)``:

======================  ==============================================================================
``data_source``         "openai/gsm8k"; for generated problems "builtin", so that no one mistakes them
``prompt``              ``[{"role": "user", "content": question + " " + instruction}]``
``env_class``           "gsm8k"
``ability``             "math"
``reward_spec``         ``{"method": "rule", "ground_truth": answer}``
``reward_model``        ``{"style": "rule", "ground_truth": answer}``
``extra_info``          ``{"split", "index", "answer": solution, "question"}``
======================  ==============================================================================
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gsm8k_env.choices import check_count
from gsm8k_env.hub import HUB_ID
from gsm8k_env.problems import ProblemSet, load_problems, resolve_dataset
from gsm8k_env.prompts import DEFAULT_INSTRUCTION, INSTRUCTIONS, render_prompt

FILE_OF_SPLIT = {"train": "train.parquet", "test": "validation.parquet"}


def prepare(
    output_dir: str | os.PathLike[str],
    *,
    dataset: str = "auto",
    max_train_dataset_length: int | None = None,
    instruction: str = DEFAULT_INSTRUCTION,
) -> dict[Path, int]:
    """Writes both files; each appears whole or not at all.

    Args:
        output_dir: The folder, made if it is not there.
        dataset: The source, as in ``load_problems``.
        max_train_dataset_length: Keeps only the first so many training problems.
        instruction: The text after each question, or its name in ``gsm8k_env.prompts``.

    Returns:
        The number of rows by the file's path.

    Raises:
        ValueError: The source cannot be loaded, or an argument is wrong.
        OSError: The files cannot be written.
    """
    if not os.fspath(output_dir):
        raise ValueError("output_dir is empty: name the folder to write to.")
    if max_train_dataset_length is not None:
        check_count("max_train_dataset_length", max_train_dataset_length)
    source = resolve_dataset(dataset)
    limits = {"train": max_train_dataset_length, "test": None}
    folder = Path(output_dir).expanduser()
    tables = {
        folder / file: prepared_rows(load_problems(split, source), instruction)[: limits[split]]
        for split, file in FILE_OF_SPLIT.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write_all(tables)
    return {path: len(rows) for path, rows in tables.items()}


def prepared_rows(problems: ProblemSet, instruction: str = DEFAULT_INSTRUCTION) -> list[dict[str, Any]]:
    """Returns one row a problem, with the columns listed at the head of this module."""
    data_source = problems.dataset if problems.dataset.startswith("builtin") else HUB_ID
    return [
        {
            "data_source": data_source,
            "prompt": [{"role": "user", "content": render_prompt(problem.question, instruction)}],
            "env_class": "gsm8k",
            "ability": "math",
            "reward_spec": {"method": "rule", "ground_truth": problem.ground_truth},
            "reward_model": {"style": "rule", "ground_truth": problem.ground_truth},
            "extra_info": {
                "split": problems.split,
                "index": index,
                "answer": problem.solution,
                "question": problem.question,
            },
        }
        for index, problem in enumerate(problems)
    ]


def _write_all(tables: dict[Path, list[dict[str, Any]]]) -> None:
    """Writes every table beside its place first, then moves them there, so a failed run leaves old files whole."""
    import pyarrow
    import pyarrow.parquet

    drafts = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in tables}
    try:
        for path, draft in drafts.items():
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(tables[path]), draft)
        for path, draft in drafts.items():
            draft.replace(path)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit status, 1 if the data cannot be loaded or written."""
    options = _parser().parse_args(arguments)
    try:
        source = resolve_dataset(options.dataset)
        written = prepare(
            options.output_dir,
            dataset=source,
            max_train_dataset_length=options.max_train_dataset_length,
            instruction=options.instruction,
        )
    except (ValueError, OSError) as error:
        print(f"gsm8k_env.prepare: {error}", file=sys.stderr)
        return 1
    print(f"source: {source}")
    for path, count in written.items():
        print(f"{path}: {count:,} problems")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gsm8k_env.prepare",
        usage=argparse.SUPPRESS,  # an error is one line
        description="Write GSM8K as train.parquet and validation.parquet, in the layout that SkyRL and verl read.",
    )
    parser.add_argument("--output_dir", required=True, metavar="DIR", help="the folder to write to")
    parser.add_argument(
        "--dataset",
        default="auto",
        help="auto, builtin, openai/gsm8k, or a .jsonl or .parquet file's folder (default: %(default)s)",
    )
    parser.add_argument(
        "--max_train_dataset_length", type=int, metavar="N", help="keep only the first N training problems"
    )
    parser.add_argument(
        "--instruction",
        default=DEFAULT_INSTRUCTION,
        help=f"the text after each question, or one of {', '.join(INSTRUCTIONS)} (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
