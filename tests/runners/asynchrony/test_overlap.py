"""A step that overlaps takes what its longer part takes."""

import pytest
from overlap import seconds_a_step


@pytest.mark.parametrize(("sample_s", "update_s"), [(0.2, 0.5), (0.5, 0.2)])
def test_sampling_and_update_overlap(sample_s, update_s):
    assert seconds_a_step(sample_s, update_s, 0, 2) >= sample_s + update_s
    assert seconds_a_step(sample_s, update_s, 1, 3) <= 1.3 * max(sample_s, update_s)
