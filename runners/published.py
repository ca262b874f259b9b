"""What the published algorithms decide on, in this project's settings."""

from __future__ import annotations

from typing import Any

from runners.objectives.algorithms import ALGORITHMS
from runners.settings import TRAINING_NOUNS
from runners.support.settings import default_of, fields_of


def algorithm_settings(name: str) -> dict[str, Any]:
    """Returns all settings that a published algorithm decides on: its own, and the defaults where it is silent.

    Raises:
        ValueError: For an unknown algorithm.
    """
    if not isinstance(name, str):
        raise ValueError(f"algorithm={name!r}, but it must be a name of docs/algorithms.md.")
    silent = {n: default_of(f) for n, f in fields_of(TRAINING_NOUNS).items() if f.metadata["published"]}
    return {**silent, **ALGORITHMS.lookup(name).settings}


def algorithm_table() -> str:
    """Returns the table of the published algorithms, as docs/algorithms.md shows it."""
    lines = [
        "| name | advantage; loss of a token | surrogate | aggregation | KL | what to expect |",
        "|---|---|---|---|---|---|",
    ]
    for name, spec in ALGORITHMS.items():
        chosen = algorithm_settings(name)
        kl = "{kl_estimator} in the {kl_placement}, {kl_coeff:g}".format(**chosen) if chosen["kl_coeff"] else "none"
        lines.append(
            f"| [`{name}`]({spec.paper}) | {spec.formula} | {chosen['surrogate']} | {chosen['aggregation']} | {kl} "
            f"| {spec.expect} |"
        )
    return "\n".join(lines)
