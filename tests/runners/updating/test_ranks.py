"""What several learners add up, with a process group that answers for the others."""

import pytest
import torch

from runners.updating import ranks


@pytest.fixture
def three_ranks(monkeypatch):
    """The others have ten and a hundred times what this one has."""

    def gather(parts, part):
        assert parts == [None] * 3
        parts[:] = [part, 10 * part, 100 * part]

    monkeypatch.setattr(ranks.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(ranks.dist, "get_world_size", lambda: 3)
    monkeypatch.setattr(ranks.dist, "get_rank", lambda: 2)
    monkeypatch.setattr(ranks.dist, "all_gather_object", gather)
    monkeypatch.setattr(ranks.dist, "all_reduce", lambda tensor: tensor.mul_(111))


def test_one_learner_asks_nobody():
    gradient = torch.ones(2)
    ranks.sum_gradients([gradient])
    assert gradient.tolist() == [1, 1]
    assert (ranks.num_ranks(), ranks.rank(), ranks.is_rank_0(), ranks.sum_over_ranks(3)) == (1, 0, True, 3)


def test_parts_of_all_ranks_are_combined(three_ranks):
    assert (ranks.num_ranks(), ranks.rank(), ranks.is_rank_0()) == (3, 2, False)
    assert ranks.sum_over_ranks(3) == 333 and ranks.over_ranks(max, 3) == 300


def test_gradients_are_summed_in_place(three_ranks):
    gradients = [torch.arange(6.0).reshape(2, 3), torch.tensor([7.0])]
    ranks.sum_gradients(gradients)
    assert gradients[0].tolist() == [[0, 111, 222], [333, 444, 555]] and gradients[1].tolist() == [777]
