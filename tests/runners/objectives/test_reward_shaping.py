import numpy as np
import pytest

from runners.objectives.reward_shaping import overlong_punishment


@pytest.mark.parametrize(
    ("lengths", "buffer", "expected"),
    [
        # (10 - 4 - length) / 4 from 7 on: -1/4, -2/4, -3/4, -1.
        ([1, 5, 6, 7, 8, 9, 10], 4, [0, 0, 0, -0.25, -0.5, -0.75, -1]),
        ([8, 9, 10], 1, [0, 0, -1]),  # only what reached the limit
        ([0, 5, 10], 10, [0, -0.5, -1]),  # every token costs
        ([11], 4, [-1]),  # beyond the limit it falls no further
    ],
)
def test_by_hand(lengths, buffer, expected):
    assert overlong_punishment(np.array(lengths), 10, buffer).tolist() == expected
