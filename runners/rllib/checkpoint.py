"""Checkpoints of RLlib: where they are, whether the learners' state is in them, and whether they can be read."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_LEARNER_GROUP, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID


def absolute(path: Any) -> Any:
    """Returns a folder as every process of this machine understands it; a URI as it is."""
    return path if path is None or "://" in str(path) else Path(path).resolve()


def check_learner_state(checkpoint: Path) -> None:
    """Looks whether the learners' state is there: RLlib does not ask whether a remote learner could write it.

    Raises:
        OSError: If it is missing or cut short.
    """
    learner = checkpoint / COMPONENT_LEARNER_GROUP / COMPONENT_LEARNER
    for part in (learner, learner / COMPONENT_RL_MODULE / DEFAULT_MODULE_ID):
        states = list(part.glob("*state.*"))
        if not states or not all(map(_is_whole, states)):
            raise OSError(
                f"The checkpoint {checkpoint} is not whole: the learners' state is missing or cut short in {part}. Is "
                "the disk full, or may the learner not write there?"
            )


@contextmanager
def read_from(checkpoint: Any) -> Iterator[None]:
    """Takes what fails in here for a state that another version wrote, or that is none: pickles raise many kinds.

    Raises:
        ValueError: In the place of those; the message names the checkpoint.
    """
    try:
        yield
    except (pickle.UnpicklingError, EOFError, AttributeError, LookupError, TypeError, ValueError, ImportError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(
            f"The state in {checkpoint} cannot be taken ({reason:.200}): go on with the versions that wrote it "
            "(provenance.json), or start a new run from its policy with --model."
        ) from error


def _is_whole(state: Path) -> bool:
    with state.open("rb") as file:
        file.seek(max(0, state.stat().st_size - 1))
        last = file.read()
    return last == pickle.STOP if state.suffix == ".pkl" else bool(last)
