"""The folder of an evaluation: config.json, samples.jsonl, results.json, each whole after a kill at any instant."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gsm8k_env.grading import Grade
from runners.evaluation.samples import Sample
from runners.evaluation.scoring import ScoredSample
from runners.support.atomic import replacing


class EvaluationFolder:
    """Where an evaluation writes.

    Args:
        path: The folder; made when something is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_path = path / "config.json"
        self.samples_path = path / "samples.jsonl"
        self.results_path = path / "results.json"

    def append_samples(self, samples: Iterable[Sample]) -> None:
        """Appends a batch and waits until it is on the disk."""
        with self.samples_path.open("a", encoding="utf-8") as file:
            file.write("".join(_line(sample.to_row()) for sample in samples))
            file.flush()
            os.fsync(file.fileno())

    def write_samples(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Replaces samples.jsonl."""
        _replace(self.samples_path, "".join(map(_line, rows)))

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Replaces config.json."""
        _replace(self.config_path, json.dumps(config, indent=2, ensure_ascii=False) + "\n")

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Replaces results.json."""
        _replace(self.results_path, json.dumps(results, indent=2, ensure_ascii=False) + "\n")

    def read_config(self) -> dict[str, Any] | None:
        """Returns config.json, or None if there is none.

        Raises:
            ValueError: If it is not what `write_config` wrote.
        """
        if not self.config_path.exists():
            return None
        try:
            found = json.loads(self.config_path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{self.config_path}: not JSON ({error}). Choose another --output-dir.") from error
        evaluation = found.get("evaluation") or {} if isinstance(found, dict) else None
        if isinstance(evaluation, dict) and isinstance(evaluation.get("env_options", {}), dict):
            return found
        raise ValueError(f"{self.config_path} is not what evaluate.py wrote. Choose another --output-dir.")


def read_samples(path: Path) -> list[Sample]:
    """Returns the rows of a samples.jsonl; a last line cut short by a kill is left out.

    Raises:
        ValueError: If there is no such file, or another line is no sample; the message names file and line.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}. evaluate.py writes samples.jsonl into its --output-dir.")
    samples = []
    # Split at line feeds alone: a completion may hold other characters that str.splitlines takes for line ends.
    *lines, _ = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where}: not JSON ({error}).") from error
        if not isinstance(row, dict):
            raise ValueError(f"{where}: expected an object, got {type(row).__name__}.")
        samples.append(Sample.from_row(row, where=where))
    return samples


def read_scored(path: Path) -> list[ScoredSample]:
    """Returns the rows of a samples.jsonl that was scored. Raises as `read_samples`, and where grades are missing."""
    samples = read_samples(path)
    rows = [json.loads(line) for line in path.read_bytes().split(b"\n")[: len(samples)]]
    try:
        return [
            ScoredSample(
                sample=sample,
                grades={mode: Grade(**grade) for mode, grade in row["grades"].items()},
                truncated=bool(row["truncated"]),
            )
            for sample, row in zip(samples, rows, strict=True)
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} has a row without its grades ({error!r}): score it again by --score.") from error


def _line(row: Mapping[str, Any]) -> str:
    # Escaped to ASCII: a text may hold a lone surrogate, which UTF-8 cannot express.
    return json.dumps(row) + "\n"


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as staging:
        staging.write_text(text, encoding="utf-8")
