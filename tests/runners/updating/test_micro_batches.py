"""Which rows go through the model together, and how wide."""

import pytest
import torch

from runners.updating import micro_batches
from runners.updating.micro_batches import passes

# Two prompts of two tokens; rows 0, 2 and 3 have the first. Lengths 4, 6, 3, 5.
PROMPTS = [[8, 9], [7, 7], [8, 9], [8, 9]]
LENGTHS = torch.tensor([4, 6, 3, 5])


@pytest.fixture
def columns():
    ids = torch.full((4, 6), 5)
    ids[:, :2] = torch.tensor(PROMPTS)
    places = torch.arange(6)
    mask = (places >= 2) & (places < LENGTHS[:, None])
    return {"token_ids": ids, "loss_mask": mask, "lengths": LENGTHS, "advantages": torch.arange(4.0)}


def rows_of(columns, **options):
    settings = {"max_tokens": 100, "max_row_tokens": None, "in_step": False} | options
    return [(rows.tolist(), micro) for rows, micro in passes(columns, **settings)]


def test_without_sharing_rows_of_like_length_go_together_and_padding_is_cut(columns):
    found = rows_of(columns, max_tokens=12)
    assert [rows for rows, _ in found] == [[1, 3], [0, 2]]
    for rows, micro in found:
        width = int(LENGTHS[rows].max())
        assert torch.equal(micro["token_ids"], columns["token_ids"][rows, :width])
        assert torch.equal(micro["loss_mask"], columns["loss_mask"][rows, :width])
        assert micro["lengths"].tolist() == LENGTHS[rows].tolist()
        assert micro["advantages"].tolist() == rows


def test_rows_that_share_a_prompt_stay_together(columns):
    # 2 + (2 + 1 + 3) = 8 tokens in the one row, 6 in the other.
    assert [rows for rows, _ in rows_of(columns, max_row_tokens=8, max_tokens=8)] == [[0, 2, 3], [1]]
    assert [rows for rows, _ in rows_of(columns, max_row_tokens=8, max_tokens=16)] == [[0, 1, 2, 3]]
    assert [rows for rows, _ in rows_of(columns, max_row_tokens=7, max_tokens=6)] == [[1], [0, 2], [3]]


@pytest.mark.parametrize(("most", "missing"), [(2, 0), (4, 2)])
def test_a_rank_with_fewer_passes_makes_dummy_ones_in_a_sharded_step(columns, monkeypatch, most, missing):
    monkeypatch.setattr(micro_batches, "over_ranks", lambda combine, part: combine(part, most))
    found = rows_of(columns, max_tokens=12, in_step=True)
    assert [rows for rows, _ in found] == [[1, 3], [0, 2]] + [[]] * missing
    for _, micro in found[2:]:
        assert micro["token_ids"].tolist() == [[0, 0]] and micro["loss_mask"].tolist() == [[False, True]]
        assert micro["lengths"].tolist() == [2] and micro["token_ids"].dtype == torch.int64
