"""Loss weights and masked sums."""

import math

import numpy as np
import pytest
import torch

from runners.objectives.reductions import AGGREGATIONS, masked_mean, masked_sum, sequence_loss_weights

LENGTHS, VALID = np.array([4, 2, 10, 0]), np.array([True, True, False, True])


def test_c17_aggregations_by_hand():
    np.testing.assert_allclose(sequence_loss_weights(LENGTHS, VALID, "token-mean"), [1 / 6, 1 / 6, 0, 0])
    np.testing.assert_allclose(sequence_loss_weights(LENGTHS, VALID, "sequence-mean"), [1 / 8, 1 / 4, 0, 0])
    np.testing.assert_allclose(sequence_loss_weights(LENGTHS, VALID, "constant-length", 16), [1 / 32, 1 / 32, 0, 0])


def test_the_constant_length_is_that_of_a_turn():
    weights = sequence_loss_weights(LENGTHS, VALID, "constant-length", 16, turns=np.array([3, 1, 5, 1]))
    np.testing.assert_allclose(weights, [1 / 64, 1 / 64, 0, 0])  # four turns in the rows that count


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_c10_rows_left_out_leave_the_denominators(aggregation):
    with_row = sequence_loss_weights(LENGTHS, VALID, aggregation, 16)
    without = sequence_loss_weights(LENGTHS[:2], VALID[:2], aggregation, 16)
    np.testing.assert_allclose(with_row[:2], without)
    assert (with_row[2:] == 0).all()


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_c15_no_row_left_gives_zeros(aggregation):
    weights = sequence_loss_weights(LENGTHS, np.zeros(4, bool), aggregation, 16)
    assert weights.tolist() == [0, 0, 0, 0]


def test_bad_options():
    with pytest.raises(ValueError, match="Did you mean 'token-mean'"):
        sequence_loss_weights(LENGTHS, VALID, "token_mean")
    with pytest.raises(ValueError, match="needs max_tokens"):
        sequence_loss_weights(LENGTHS, VALID, "constant-length")


def test_masked_sum_and_mean_ignore_what_lies_outside():
    values = torch.tensor([[1.0, 2.0, math.nan], [math.inf, 4.0, math.nan]], requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, True, False]])
    assert masked_sum(values, mask).item() == 7 and masked_mean(values, mask).item() == pytest.approx(7 / 3)
    assert masked_sum(values, mask, dim=1).tolist() == [3, 4] and masked_mean(values, mask, dim=1).tolist() == [1.5, 4]
    masked_mean(values, mask).backward()
    torch.testing.assert_close(values.grad, mask / 3)
    assert masked_mean(values, torch.zeros_like(mask)).item() == 0
