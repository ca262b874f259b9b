"""Settings that may change over a run, in RLlib's form: `[[0, value], [timestep, value], ...]`.

Straight lines join the points, and the last value stays. A timestep is an environment step: a turn of an episode.
"""

from __future__ import annotations

from collections.abc import Callable

Schedule = list[tuple[float, float]]

SCHEDULE_WORDS = "or a schedule [[0, value], [timestep, value], ...] of such, with growing timesteps"


def scheduled(ok: Callable[[float], bool]) -> Callable[[float | Schedule], bool]:
    """Returns the check of a setting that is a number, or a schedule of such numbers.

    >>> lr = scheduled(lambda value: value >= 0)
    >>> lr(1e-4), lr([[0, 1e-4], [1000, 0.0]]), lr([[5, 1e-4], [10, 0.0]]), lr([[0, 1e-4], [1000, -1.0]])
    (True, True, False, False)
    """

    def check(value: float | Schedule) -> bool:
        if not isinstance(value, (list, tuple)):
            return ok(value)
        timesteps = [timestep for timestep, _ in value]
        growing = len(timesteps) > 1 and timesteps[0] == 0 and timesteps == sorted(set(timesteps))
        return growing and all(ok(point) for _, point in value)

    return check


def initial_value(value: float | Schedule) -> float:
    """Returns a setting's value at timestep 0."""
    return value[0][1] if isinstance(value, (list, tuple)) else value
