"""What several folders of tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from runners.rllib.grpo import GRPO, GRPOConfig


@pytest.fixture
def built() -> Iterator[Callable[[GRPOConfig], GRPO]]:
    """Builds algorithms and stops them after the test; Ray runs already."""
    algorithms: list[GRPO] = []

    def build_one(config: GRPOConfig) -> GRPO:
        algorithms.append(config.build_algo())
        return algorithms[-1]

    yield build_one
    for algo in algorithms:
        algo.stop()
