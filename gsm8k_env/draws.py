"""Which problem each environment of a vector poses next: N seeded streams, read in blocks."""

from collections.abc import Sequence

import numpy as np
from gymnasium.utils import seeding

# A draw alone costs over a microsecond, as much as a sixth of grading an answer; in a block of 64 it is nearly free.
_BLOCK = 64


class ProblemDraws:
    """N generators, each giving the numbers that ``GSM8KEnv`` draws from the same seed one at a time.

    NumPy gives a block of bounded integers the values that as many single draws have, so reading ahead changes nothing
    but the generators' own state, which runs up to 64 draws ahead of what was used.

    Args:
        num_envs: The number of streams N.
        num_problems: Every draw is from 0 to this less one.

    Attributes:
        generators: The N generators.
        seeds: The N seeds they were made from.
    """

    def __init__(self, num_envs: int, num_problems: int) -> None:
        self._num_problems = num_problems
        self._block = np.zeros((num_envs, _BLOCK), dtype=np.int64)
        self._used = np.full(num_envs, _BLOCK)
        self._rows = np.arange(num_envs)
        self.generators: list[np.random.Generator] = []
        self.seeds: list[int] = []
        for _ in range(num_envs):
            generator, seed = seeding.np_random()
            self.generators.append(generator)
            self.seeds.append(seed)

    def seed(self, seeds: Sequence[int | None]) -> None:
        """Starts the streams anew whose seed is given; None leaves a stream as it is.

        Args:
            seeds: [N] non-negative ints or None.

        Raises:
            gymnasium.error.Error: A seed is something else; then no stream has changed.
        """
        fresh = {row: seeding.np_random(seed) for row, seed in enumerate(seeds) if seed is not None}
        for row, (generator, seed) in fresh.items():
            self.generators[row], self.seeds[row] = generator, seed
            self._used[row] = _BLOCK

    def draw(self, which: np.ndarray | None = None) -> np.ndarray:
        """Draws from some of the streams.

        Args:
            which: [M] the streams to draw from, each at most once; all if None.

        Returns:
            int64 [M] the drawn indices.
        """
        rows = self._rows if which is None else which
        for row in rows[self._used[rows] == _BLOCK]:
            self._block[row] = self.generators[row].integers(self._num_problems, size=_BLOCK)
            self._used[row] = 0
        drawn = self._block[rows, self._used[rows]]
        self._used[rows] += 1
        return drawn
