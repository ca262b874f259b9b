"""Which problem comes next: shuffled epochs over a finite environment, fresh seeds over an endless one."""

from __future__ import annotations

from typing import Any

import numpy as np

from runners.sampling.rollout import EnvName, GroupReset

# Seeds of evaluation problems start here, far from those that training uses.
_EVALUATION_SEED = 2**30


class ProblemSampler:
    """Chooses the problems of each step.

    An environment with a finite list of problems says how many (`num_problems`) and takes `options={"index": i}`: every
    problem then comes once an epoch, in an order drawn anew for each. Any other is reset with seeds never used before.

    Args:
        num_problems: Length of the list, or None.
        seed: Decides the order.
    """

    def __init__(self, num_problems: int | None, seed: int) -> None:
        self.num_problems = num_problems
        self.seed = seed
        self.drawn = 0

    @property
    def epoch(self) -> float:
        """Passes over the problems so far; 0 for an endless environment."""
        return self.drawn / self.num_problems if self.num_problems else 0.0

    def draw(self, count: int) -> list[GroupReset]:
        """Returns the next `count` groups."""
        resets = [self._reset(number) for number in range(self.drawn, self.drawn + count)]
        self.drawn += count
        return resets

    def none_fits(self, num_left_out: int, count: int) -> bool:
        """Returns whether none is short enough, where so many were too long for a step of `count`.

        That is the whole list; of an endless environment, ten steps' problems.
        """
        return num_left_out >= (self.num_problems or 10 * count)

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` needs to go on from here."""
        return {"num_problems": self.num_problems, "seed": self.seed, "drawn": self.drawn}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint.

        Raises:
            ValueError: If the environment now has another number of problems: the epoch could not be finished.
        """
        if state["num_problems"] != self.num_problems:
            raise ValueError(
                f"The checkpoint was made with {state['num_problems']} problems, the environment has "
                f"{self.num_problems}: resume with the same dataset, or start a new run."
            )
        self.seed, self.drawn = state["seed"], state["drawn"]

    def _reset(self, number: int) -> GroupReset:
        seed = _seed(self.seed, number)
        if self.num_problems is None:
            return GroupReset(group_id=number, seed=seed)
        epoch, place = divmod(number, self.num_problems)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.num_problems)
        return GroupReset(group_id=number, seed=seed, options={"index": int(order[place])})


def evaluation_resets(num_problems: int | None, count: int) -> list[GroupReset]:
    """Returns the same `count` problems at every call: spread over a finite list, or a fixed range of seeds."""
    if num_problems is None:
        return [GroupReset(group_id=i, seed=_EVALUATION_SEED + i) for i in range(count)]
    count = min(count, num_problems)
    chosen = np.random.default_rng(0).permutation(num_problems)[:count]
    return [
        GroupReset(group_id=i, seed=_EVALUATION_SEED + i, options={"index": int(index)})
        for i, index in enumerate(sorted(chosen))
    ]


def _seed(*entropy: int) -> int:
    """Returns a 31-bit seed mixed from integers, as `reset(seed=...)` takes."""
    return int(np.random.SeedSequence(entropy).generate_state(1)[0] >> 1)


def sequence_seed(run_seed: int, env: EnvName, group_id: int, turn: int) -> int:
    """Returns the seed of a group's member 0 in a turn (0 is the first); member j has this plus j.

    Of 30 bits, so that the sum stays within the 31 that `SamplingParams.seed` takes.
    """
    # Not 0 for "train": SeedSequence ignores zeros at the end, and `_seed(run_seed, number)` is the environment's.
    return _seed(run_seed, group_id, turn, 1 if env == "train" else 2) >> 1
