"""A step that overlaps takes what its longer part takes."""

from overlap import seconds_a_step


def test_sampling_and_update_overlap():
    assert seconds_a_step(0.15, 0.3, 0, 1) >= 0.45
    assert seconds_a_step(0.15, 0.3, 1, 2) <= 1.35 * 0.3
