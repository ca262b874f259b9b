"""Chunked log-probabilities against a plain log_softmax of every logit."""

import pytest
import torch

from runners.objectives.logprobs import completion_logprobs

B, T, H, V = 3, 9, 8, 23


class CountingHead(torch.nn.Linear):
    """Notes how many rows each call got."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        self.rows = [*getattr(self, "rows", []), len(states)]
        return super().forward(states)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    hidden = torch.randn(B, T, H, requires_grad=True)
    head = CountingHead(H, V)
    token_ids = torch.randint(V, (B, T))
    loss_mask = torch.zeros(B, T, dtype=torch.bool)
    for row, (start, stop) in enumerate([(1, 9), (4, 6), (3, 8)]):
        loss_mask[row, start:stop] = True
    return hidden, head, token_ids, loss_mask


def plain(hidden, head, token_ids, temperature):
    """[B, T] of every token but the first, from the whole logits in float64."""
    logps = (head(hidden).double() / temperature).log_softmax(-1)[:, :-1]
    chosen = logps.gather(2, token_ids[:, 1:, None]).squeeze(2)
    entropy = -(logps.exp() * logps).sum(-1)
    return tuple(torch.nn.functional.pad(value, (1, 0)) for value in (chosen, entropy))


def gradients(value, hidden, head):
    return torch.autograd.grad(value, [hidden, head.weight, head.bias])


def close(actual, expected, rtol=1e-5):
    for a, e in zip(actual, expected, strict=True):
        assert (a - e).norm() <= rtol * e.norm(), ((a - e).norm(), e.norm())


@pytest.mark.parametrize("max_logits", [1, 3 * V, 4 * V + 5, 10**6])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_c2_c9_values_and_gradients_equal_the_plain_way(batch, max_logits, temperature):
    hidden, head, token_ids, loss_mask = batch
    weights = torch.randn(B, T)
    logprobs, entropies = completion_logprobs(hidden, head, token_ids, loss_mask, temperature, max_logits)
    expected, expected_entropies = plain(hidden, head, token_ids, temperature)
    torch.testing.assert_close(logprobs[loss_mask], expected[loss_mask].float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(entropies[loss_mask], expected_entropies[loss_mask].float(), rtol=1e-5, atol=1e-6)
    assert not logprobs[~loss_mask].any() and not entropies[~loss_mask].any() and not entropies.requires_grad
    close(
        gradients((logprobs * weights).sum(), hidden, head),
        gradients((expected * weights * loss_mask).sum(), hidden, head),
    )


def test_c2_temperature_scales_logits_not_logprobs(batch):
    hidden, head, token_ids, loss_mask = batch
    hot, _ = completion_logprobs(hidden, head, token_ids, loss_mask, 2.0)
    plain_one, _ = completion_logprobs(hidden, head, token_ids, loss_mask, 1.0)
    halved = lambda states: head(states) / 2  # noqa: E731
    scaled, _ = completion_logprobs(hidden, halved, token_ids, loss_mask, 1.0)
    torch.testing.assert_close(hot, scaled)
    assert not torch.allclose(hot[loss_mask], plain_one[loss_mask] / 2, atol=1e-2)


def test_c9_padded_rows_equal_one_unpadded_sequence(batch):
    hidden, head, token_ids, loss_mask = batch
    logprobs, _ = completion_logprobs(hidden, head, token_ids, loss_mask)
    alone, _ = completion_logprobs(hidden[1:2, :6], head, token_ids[1:2, :6], loss_mask[1:2, :6])
    logps = head(hidden[1, 3]).log_softmax(-1)  # the logits at 3 predict the token at 4
    torch.testing.assert_close(logprobs[1, :6], alone[0])
    torch.testing.assert_close(logprobs[1, 4], logps[token_ids[1, 4]])


@pytest.mark.parametrize("max_logits", [3 * V, 10**6])
def test_entropy_gradient(batch, max_logits):
    hidden, head, token_ids, loss_mask = batch
    a, b = torch.randn(2, B, T)
    logprobs, entropies = completion_logprobs(
        hidden, head, token_ids, loss_mask, 0.7, max_logits, with_entropy_grad=True
    )
    expected, expected_entropies = plain(hidden, head, token_ids, 0.7)
    close(
        gradients((logprobs * a + entropies * b).sum(), hidden, head),
        gradients(((expected * a + expected_entropies * b) * loss_mask).sum(), hidden, head),
    )
    close(
        gradients(
            completion_logprobs(hidden, head, token_ids, loss_mask, with_entropy_grad=True)[1].sum(), hidden, head
        ),
        gradients((plain(hidden, head, token_ids, 1.0)[1] * loss_mask).sum(), hidden, head),
    )


def test_only_masked_positions_reach_the_head_and_in_small_pieces(batch):
    hidden, head, token_ids, loss_mask = batch
    logprobs, _ = completion_logprobs(hidden, head, token_ids, loss_mask, max_logits=4 * V + 5)
    forward = [rows for rows in head.rows if rows]
    assert forward == [4, 4, 4, 3] and sum(forward) == int(loss_mask.sum())
    logprobs.sum().backward()
    assert max(head.rows) == 4 and sum(head.rows) == 2 * int(loss_mask.sum())  # each piece again, none larger


def test_one_piece_is_not_computed_twice(batch):
    hidden, head, token_ids, loss_mask = batch
    completion_logprobs(hidden, head, token_ids, loss_mask)[0].sum().backward()
    assert [rows for rows in head.rows if rows] == [15]


def test_saved_memory_is_bounded(batch):
    hidden, head, token_ids, loss_mask = batch
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        completion_logprobs(hidden, head, token_ids, loss_mask, max_logits=2 * V)
    assert max(saved) <= max(2 * V, hidden.numel(), head.weight.numel())


def test_without_grad_and_without_entropy(batch):
    hidden, head, token_ids, loss_mask = batch
    expected, _ = completion_logprobs(hidden, head, token_ids, loss_mask)
    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            logprobs, entropies = completion_logprobs(hidden, head, token_ids, loss_mask, with_entropy=False)
        torch.testing.assert_close(logprobs, expected)
        assert entropies[loss_mask].isnan().all() and logprobs.requires_grad is enabled


def test_c22_log_softmax_is_float32_under_a_bfloat16_model(batch):
    hidden, head, token_ids, loss_mask = batch
    head = head.bfloat16()
    logprobs, entropies = completion_logprobs(hidden.bfloat16(), head, token_ids, loss_mask)
    logps = head(hidden.bfloat16()).float().log_softmax(-1)[:, :-1]
    expected = logps.gather(2, token_ids[:, 1:, None]).squeeze(2)
    assert logprobs.dtype == entropies.dtype == torch.float32
    torch.testing.assert_close(logprobs[:, 1:][loss_mask[:, 1:]], expected[loss_mask[:, 1:]], rtol=0, atol=1e-6)
    logprobs.sum().backward()
    assert head.weight.grad.dtype == torch.bfloat16


def test_an_empty_mask_gives_a_differentiable_zero(batch):
    hidden, head, token_ids, loss_mask = batch
    logprobs, _ = completion_logprobs(hidden, head, token_ids, torch.zeros_like(loss_mask))
    logprobs.sum().backward()
    assert not logprobs.any() and not hidden.grad.any()


def test_bad_options(batch):
    hidden, head, token_ids, loss_mask = batch
    with pytest.raises(ValueError, match="temperature=0"):
        completion_logprobs(hidden, head, token_ids, loss_mask, 0.0)
    with pytest.raises(ValueError, match="max_logits=0"):
        completion_logprobs(hidden, head, token_ids, loss_mask, max_logits=0)
    with pytest.raises(AssertionError, match="position 0"):
        completion_logprobs(hidden, head, token_ids, torch.ones_like(loss_mask))
