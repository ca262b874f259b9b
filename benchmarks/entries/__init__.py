"""The entries that `benchmarks/algorithms.py` knows by name: where the function `train(task)` of each stands."""

from __future__ import annotations

from runners.objectives.algorithms import ALGORITHMS

OURS = {name: f"entries.ours:{name}" for name in ALGORITHMS}
"""The settings of docs/algorithms.md."""

OTHERS = {
    "single-file": "entries.single_file:train",
    "grpo-k0": "entries.stale:k0",
    "grpo-k1": "entries.stale:k1",
    "grpo-k2": "entries.stale:k2",
    "grpo-k4": "entries.stale:k4",
    "expert-iteration": "entries.expert_iteration:train",
    "sft": "entries.sft:train",
    "rllib-ppo": "entries.rllib_tokens:ppo",
    "rllib-appo": "entries.rllib_tokens:appo",
    "rllib-impala": "entries.rllib_tokens:impala",
    "trl-grpo": "entries.trl_trainers:grpo",
    "trl-rloo": "entries.trl_trainers:rloo",
}
"""Whatever else is shipped."""


def place_of(name: str) -> str:
    """Returns where an entry's function stands: that of a known name; another is "module:function" itself.

    Raises:
        ValueError: If the name is neither.
    """
    place = {**OURS, **OTHERS}.get(name, name)
    if place.count(":") != 1 or not all(place.split(":")):
        raise ValueError(
            f"No entry is called {name!r}. There are {', '.join([*OURS, *OTHERS])}; one of your own is module:function."
        )
    return place
