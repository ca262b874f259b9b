"""What a step learned from, beside the state it started from: runs/NAME/dumps/step_N."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from runners.sampling.rollout import Rollout
from runners.support.atomic import replacing

if TYPE_CHECKING:
    from runners.rllib.grpo import GRPO

T = TypeVar("T")

MOST_DUMPS = 10
"""Dumps of a run that stay, the newest: each has a checkpoint in it."""


class Dumps:
    """Keeps steps of a run.

    Args:
        run: The run's folder.
        wanted: "all", numbers such as "3,7", or None.
    """

    def __init__(self, run: Path, wanted: str | None) -> None:
        self._folder = run / "dumps"
        self._all = wanted == "all"
        self._steps = set() if wanted in (None, "all") else set(map(int, str(wanted).split(",")))

    def wanted(self, step: int) -> bool:
        """Returns whether a step is kept."""
        return self._all or step in self._steps

    @contextmanager
    def keeping(self, step: int, algo: GRPO) -> Iterator[None]:
        """Keeps what is done inside if the step is wanted."""
        if not self.wanted(step):
            yield
            return
        with replacing(self._folder / f"step_{step:06d}") as staging:
            staging.mkdir(parents=True)
            algo.save_to_path(staging / "checkpoint")
            yield
            counts = {"iteration": step - 1, "num_env_steps_sampled": algo.num_env_steps_sampled}
            (staging / "counts.json").write_text(json.dumps(counts), encoding="utf-8")
            write_rollouts(staging / "rollouts.jsonl.gz", algo.trained_on)
            outcome = Outcome.of(algo)
            (staging / "outcome.json").write_text(json.dumps(asdict(outcome), indent=1), encoding="utf-8")
        for old in sorted(self._folder.glob("step_*"))[:-MOST_DUMPS]:
            shutil.rmtree(old)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an update.

    Attributes:
        statistics: The learner's, by name.
        weights: sha256 of each weight after it, by name.
    """

    statistics: Mapping[str, float]
    weights: Mapping[str, str]

    @classmethod
    def of(cls, algo: GRPO) -> Outcome:
        """Returns that of the last update."""
        weights = algo.updaters.ask(methodcaller("copied_weights"))
        return cls(
            # But for RLlib's counts, over the run.
            statistics={n: float(value) for n, value in algo.update_statistics.items() if not n.startswith("num_")},
            weights={name: _digest(tensor) for name, tensor in weights.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """What `Dumps` kept of a step.

    Attributes:
        checkpoint: The folder of the algorithm's state before it.
        iteration: Steps before it.
        num_env_steps_sampled: As the algorithm counts them, when it updated.
        rollouts: [B] what it learned from.
        outcome: What came of it.
    """

    checkpoint: Path
    iteration: int
    num_env_steps_sampled: int
    rollouts: list[Rollout]
    outcome: Outcome

    @classmethod
    def read(cls, folder: Path) -> Dump:
        """Reads a folder.

        Raises:
            ValueError: If a file is missing or not as it was written; the message names it.
        """
        checkpoint, counts = folder / "checkpoint", _read(folder / "counts.json", _counts)
        if not checkpoint.is_dir():
            raise ValueError(f"{checkpoint} is missing: the step cannot be done again without the state before it.")
        return cls(
            checkpoint=checkpoint,
            rollouts=_read(folder / "rollouts.jsonl.gz", read_rollouts),
            outcome=_read(folder / "outcome.json", _outcome),
            **counts,
        )


def _read(path: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(path)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, RecursionError, zlib.error) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{path} cannot be read ({reason}): dump the step again, or replay another.") from error


def _counts(path: Path) -> dict[str, int]:
    found = json.loads(path.read_bytes())
    return {name: int(found[name]) for name in ("iteration", "num_env_steps_sampled")}


def _outcome(path: Path) -> Outcome:
    found = json.loads(path.read_bytes())
    return Outcome(
        statistics={name: float(value) for name, value in found["statistics"].items()},
        weights=dict(found["weights"]),
    )


def write_rollouts(path: Path, rollouts: Sequence[Rollout]) -> None:
    """Writes rollouts, a line of JSON each; numbers come back as they were."""
    with gzip.open(path, "wt", encoding="ascii") as file:
        for rollout in rollouts:
            file.write(json.dumps(asdict(rollout), default=np.ndarray.tolist) + "\n")


def read_rollouts(path: Path) -> list[Rollout]:
    """Returns what `write_rollouts` wrote."""
    with gzip.open(path, "rt", encoding="ascii") as file:
        return [_rollout(json.loads(line)) for line in file]


def _rollout(row: dict[str, Any]) -> Rollout:
    ids = {name: tuple(row[name]) for name in ("prompt_token_ids", "completion_token_ids", "turn_lengths")}
    mask = np.array(row["completion_mask"], dtype=np.bool_)
    logprobs = np.array(row["rollout_logprobs"], dtype=np.float32)
    versions = row.get("policy_versions")
    arrays = {
        "completion_mask": mask,
        "rollout_logprobs": logprobs,
        "policy_versions": None if versions is None else np.array(versions),
    }
    return Rollout(**{**row, **ids, **arrays})


def _digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()
