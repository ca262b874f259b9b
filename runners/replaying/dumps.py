"""What a step learned from, beside the state it started from: runs/NAME/dumps/step_N."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from runners.sampling.rollout import Rollout
from runners.support.atomic import replacing

if TYPE_CHECKING:
    from runners.rllib.grpo import GRPO

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

    @contextmanager
    def keeping(self, step: int, algo: GRPO) -> Iterator[None]:
        """Keeps what is done inside if the step is wanted."""
        if not (self._all or step in self._steps):
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
    return Rollout(**{**row, **ids, "completion_mask": mask, "rollout_logprobs": logprobs})


def _digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()
