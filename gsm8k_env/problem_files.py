"""Problems from local files: which files make up a split, and how .jsonl and .parquet are read."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from gsm8k_env.rows import Problem, problem_from_row

SUFFIXES = (".jsonl", ".parquet")

# "train.jsonl", "validation.parquet", and the shards that the hub writes, "test-00000-of-00002.parquet".
_SPLIT_FILE = re.compile(r"(train|test|validation)(-\d+-of-\d+)?\.(jsonl|parquet)")
_SPLIT_OF_STEM = {"train": "train", "test": "test", "validation": "test"}


def split_files(path: Path, split: str) -> list[Path]:
    """Returns the files that hold a split, in order.

    A file holds the split it is asked for, unless its name says that it is the other one. In a folder, "train" is
    ``train.jsonl`` or ``train.parquet``, and "test" is ``test.*`` or ``validation.*``; shards such as
    ``train-00000-of-00002.parquet`` are joined.

    Args:
        path: A .jsonl or .parquet file, or a folder of them.
        split: "train" or "test".

    Raises:
        ValueError: There is no such path or no such file in it, two files could be meant, or the file's name names
            the other split.
    """
    if path.is_dir():
        return _folder_files(path, split)
    if not path.is_file():
        raise ValueError(f"There is no file or folder {path}.")
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path} is neither .jsonl nor .parquet, nor a folder of such files.")
    named = _SPLIT_FILE.fullmatch(path.name)
    if named and _SPLIT_OF_STEM[named[1]] != split:
        raise ValueError(
            f"{path} is named as the {_SPLIT_OF_STEM[named[1]]!r} split, but split={split!r} was asked for: "
            f"give the folder {path.parent}, or a file of that split."
        )
    return [path]


def read_files(files: list[Path]) -> list[Problem]:
    """Returns the problems of the files, one after the other.

    Raises:
        ValueError: A file is unreadable or empty, or a row is wrong; the message names file, row (from 1) and column.
    """
    problems = []
    for path in files:
        rows = _jsonl_rows(path) if path.suffix == ".jsonl" else _parquet_rows(path)
        problems += [problem_from_row(row, where=where) for where, row in rows]
    if not problems:
        raise ValueError(f"There are no problems in {', '.join(map(str, files))}.")
    return problems


def _folder_files(folder: Path, split: str) -> list[Path]:
    groups: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        named = _SPLIT_FILE.fullmatch(path.name)
        if named and _SPLIT_OF_STEM[named[1]] == split:
            sharded = "-*" if named[2] else ""
            groups.setdefault(f"{named[1]}{sharded}.{named[3]}", []).append(path)
    if len(groups) == 1:
        return next(iter(groups.values()))
    if groups:
        found = " and ".join(groups)
        raise ValueError(f"{folder} has {found}, so it is unclear which one is the {split!r} split: name one file.")
    stems = [stem for stem, its_split in _SPLIT_OF_STEM.items() if its_split == split]
    wanted = ", ".join(stem + suffix for stem in stems for suffix in SUFFIXES)
    raise ValueError(f"The folder {folder} has no file for the {split!r} split; looked for {wanted}.")


def _jsonl_rows(path: Path) -> Iterator[tuple[str, object]]:
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, row {number}"
        try:
            yield where, json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}: not UTF-8 text: {error}.") from error
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: not JSON: {error.msg} at character {error.pos + 1}.") from error
        except (ValueError, RecursionError) as error:  # a number of too many digits, or brackets in brackets
            raise ValueError(f"{where}: not JSON that can be read: {error}.") from error


def _parquet_rows(path: Path) -> Iterator[tuple[str, object]]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a readable parquet file: {error}.") from error
    for number, row in enumerate(rows, start=1):
        yield f"{path}, row {number}", row
