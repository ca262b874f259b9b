import re

import pytest


@pytest.mark.slow
def test_poses_ten_problems_and_counts_the_solved(run_example):
    printed = run_example("gym_loop")
    assert printed.count("[assistant]") == 10
    solved = re.search(r"^solved (\d+) of 10$", printed, flags=re.MULTILINE)
    assert solved and int(solved[1]) == printed.count("[correct: ")
