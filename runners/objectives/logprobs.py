"""Log-probabilities of the policy's own tokens, without ever holding the logits of the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

DEFAULT_MAX_LOGITS = 2**26  # 256 MiB in float32; the backward pass needs two such buffers at a time

# Without a backward pass nothing has to be kept, and on a CPU buffers of a few MB are reused by the allocator where
# larger ones are mapped and cleared anew each time: half the time at V = 4096.
_CPU_ROWS_WITHOUT_GRAD = 512


def completion_logprobs(
    hidden: torch.Tensor,
    output_head: Callable[[torch.Tensor], torch.Tensor],
    token_ids: torch.Tensor,
    loss_mask: torch.Tensor,
    temperature: float = 1.0,
    max_logits: int = DEFAULT_MAX_LOGITS,
    *,
    with_entropy: bool = True,
    with_entropy_grad: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns log softmax(output_head(hidden[t - 1]) / temperature)[token_ids[t]] wherever loss_mask[t], in float32.

    The head sees only the positions that precede a masked token, at most max(1, max_logits // V) of them at a time.
    If that takes more than one call, the backward pass computes each call's logits again rather than keep them.
    Temperature divides logits, never logprobs, so this is the distribution an engine samples from.

    Args:
        hidden: [B, T, H] the transformer's last hidden states; position t - 1 predicts token t.
        output_head: [M, H] -> [M, V] logits, any float dtype; a module or a function.
        token_ids: [B, T] int64.
        loss_mask: [B, T] bool; False at position 0, which nothing predicts.
        temperature: > 0.
        max_logits: Most logits that exist at once, >= 1.
        with_entropy: If False, the entropies are NaN inside the mask: they were not computed.
        with_entropy_grad: The entropies carry gradient; it costs one more buffer of logits.

    Returns:
        logprobs and entropies (of the tempered distribution), each [B, T] float32 in nats; 0 outside the mask.

    Raises:
        ValueError: If temperature or max_logits is not positive.
    """
    assert hidden.ndim == 3 and hidden.shape[:2] == token_ids.shape == loss_mask.shape, (hidden.shape, token_ids.shape)
    assert loss_mask.dtype == torch.bool and not loss_mask[:, 0].any(), "nothing predicts position 0"
    positions = loss_mask.flatten().nonzero().squeeze(1)
    # Rows are laid end to end and no row's position 0 is masked, so "the one before" never leaves its row.
    states = hidden.flatten(0, 1).index_select(0, positions - 1)
    targets = token_ids.flatten().index_select(0, positions)
    logprobs, entropies = token_logprobs(
        states,
        output_head,
        targets,
        temperature,
        max_logits,
        with_entropy=with_entropy,
        with_entropy_grad=with_entropy_grad,
    )
    empty = logprobs.new_zeros(loss_mask.shape)
    return empty.masked_scatter(loss_mask, logprobs), empty.masked_scatter(loss_mask, entropies)


def token_logprobs(
    states: torch.Tensor,
    output_head: Callable[[torch.Tensor], torch.Tensor],
    targets: torch.Tensor,
    temperature: float = 1.0,
    max_logits: int = DEFAULT_MAX_LOGITS,
    *,
    with_entropy: bool = True,
    with_entropy_grad: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns log softmax(output_head(states) / temperature)[targets] and the entropies, each [M] float32.

    Args:
        states: [M, H] hidden states, each that of the token before its target.
        output_head: As in `completion_logprobs`, like the other arguments.
        targets: [M] int64.
        temperature: > 0.
        max_logits: Most logits that exist at once, >= 1.
        with_entropy: If False, the entropies are NaN.
        with_entropy_grad: The entropies carry gradient.

    Raises:
        ValueError: If temperature or max_logits is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature={temperature!r}: it must be > 0 to train; greedy sampling has no gradient.")
    if max_logits < 1:
        raise ValueError(f"max_logits={max_logits!r}: it must be >= 1.")

    def score(states: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return _ScoreTokens.apply(output_head(states), targets, temperature, with_entropy, with_entropy_grad)

    rows = max(1, max_logits // _vocabulary(output_head, states))
    if not torch.is_grad_enabled() and states.device.type == "cpu":
        rows = min(rows, _CPU_ROWS_WITHOUT_GRAD)
    keep = not torch.is_grad_enabled() or len(states) <= rows
    parts = [
        score(*chunk) if keep else checkpoint(score, *chunk, use_reentrant=False)
        for chunk in zip(states.split(rows), targets.split(rows), strict=True)
    ]
    logprobs, entropies = (torch.cat(column) for column in zip(*parts, strict=True))
    return logprobs, entropies


def _vocabulary(output_head: Callable[[torch.Tensor], torch.Tensor], states: torch.Tensor) -> int:
    with torch.no_grad():  # no row, so no work: only the width of the answer
        return max(1, output_head(states[:0]).shape[-1])


class _ScoreTokens(torch.autograd.Function):
    """(logits [M, V], ids [M]) -> (logprob [M], entropy [M]), one exponential for both and for the backward pass.

    With p = softmax(logits / temperature): d logprob / d logits = (onehot(id) - p) / temperature and
    d entropy / d logits = -p (log p + entropy) / temperature. Half the time of gather minus logsumexp under autograd,
    which takes the exponential twice and allocates twice the buffers.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, ids: torch.Tensor, temperature: float, with_entropy: bool, entropy_grad: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scaled = logits.to(torch.promote_types(logits.dtype, torch.float32))
        logps = torch.log_softmax(scaled if temperature == 1 else scaled / temperature, dim=-1)
        chosen = logps.gather(1, ids[:, None]).squeeze(1)
        ctx.temperature, ctx.dtype, ctx.entropy_grad = temperature, logits.dtype, with_entropy and entropy_grad
        if not with_entropy and not ctx.needs_input_grad[0]:
            return chosen, torch.full_like(chosen, torch.nan)
        probs = logps.exp()
        if ctx.entropy_grad:
            entropy = -(probs * logps).sum(-1)
            ctx.save_for_backward(ids, probs, logps, entropy)
            return chosen, entropy
        ctx.save_for_backward(ids, probs)
        entropy = logps.mul_(probs).sum(-1).neg_() if with_entropy else torch.full_like(chosen, torch.nan)
        ctx.mark_non_differentiable(entropy)
        return chosen, entropy

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None]:
        ids, probs, *rest = ctx.saved_tensors
        grad_chosen = grads[0] / ctx.temperature
        if ctx.entropy_grad:
            logps, entropy = rest
            grad_entropy = grads[1] / ctx.temperature
            grad = (logps + entropy[:, None]).mul_(grad_entropy[:, None]).add_(grad_chosen[:, None]).mul_(probs).neg_()
        else:
            grad = probs * -grad_chosen[:, None]
        grad.scatter_add_(1, ids[:, None], grad_chosen[:, None])
        return grad.to(ctx.dtype), None, None, None, None
