import pytest
import torch

from runners.objectives.log_loss import log_loss

MASK = torch.tensor([[False, True, True], [False, False, True]])
WEIGHTS = torch.tensor([0.25, 0.5])


def test_the_loss_and_its_gradient_are_those_of_the_marked_tokens():
    logprobs = torch.tensor([[-9.0, -1.0, -2.0], [-9.0, -9.0, -4.0]], requires_grad=True)
    entropies = torch.tensor([[9.0, 0.5, 1.0], [9.0, 9.0, 1.5]])
    loss, seen = log_loss(logprobs, entropies, MASK, WEIGHTS)
    loss.backward()
    assert loss.item() == seen.loss == 0.25 * (1 + 2) + 0.5 * 4
    assert (seen.num_tokens, seen.entropy_sum, seen.entropy) == (3, 3.0, 1.0)
    assert logprobs.grad.tolist() == [[0.0, -0.25, -0.25], [0.0, 0.0, -0.5]]


def test_parts_add_up_to_the_whole():
    logprobs, entropies = -torch.rand(2, 3), torch.rand(2, 3)
    whole, seen = log_loss(logprobs, entropies, MASK, WEIGHTS)
    parts = [log_loss(*(t[row : row + 1] for t in (logprobs, entropies, MASK, WEIGHTS))) for row in (0, 1)]
    assert sum(loss.item() for loss, _ in parts) == pytest.approx(whole.item())
    assert (parts[0][1] + parts[1][1]).num_tokens == seen.num_tokens
