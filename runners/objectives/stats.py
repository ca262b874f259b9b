"""What an update saw, as sums that add up over micro-batches and learners."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyStats:
    """Sums over the masked tokens of rows with a weight; `a + b` is the same of both parts together.

    The means are properties, so that they are those of all tokens and not means of means. `PolicyStats()` is empty.

    Attributes:
        loss: The loss itself; parts of a minibatch add up to its loss.
        num_tokens: Tokens in the mask.
        entropy_sum: Nats, of the current policy.
        approx_kl_sum: k3 of KL(reference of the ratio || current), nats; exactly 0 on the first step against "old".
        clip_sum: Tokens that a clip took the gradient from.
        ratio_max: Largest probability ratio.
        kl_sum: The chosen estimator of KL(current || reference), nats; 0 without a reference.
        importance_weight_sum: Weights between engine and learner; 1 each if not used.
        importance_capped_sum: Tokens whose weight was cut at the cap.
        rollout_logprob_diff_sum: |old - rollout|, nats; 0 if the engine's logprobs are unknown.
        rollout_logprob_diff_max: The largest of these.
        rollout_logprob_diff_exp_sum: exp of these; 1 each where engine and learner agree.
    """

    loss: float = 0.0
    num_tokens: float = 0.0
    entropy_sum: float = 0.0
    approx_kl_sum: float = 0.0
    clip_sum: float = 0.0
    ratio_max: float = 0.0
    kl_sum: float = 0.0
    importance_weight_sum: float = 0.0
    importance_capped_sum: float = 0.0
    rollout_logprob_diff_sum: float = 0.0
    rollout_logprob_diff_max: float = 0.0
    rollout_logprob_diff_exp_sum: float = 0.0

    def __add__(self, other: PolicyStats) -> PolicyStats:
        """Maxima of the fields whose name ends in _max, sums of the others."""
        merged = {}
        for name in (field.name for field in fields(self)):
            mine, theirs = getattr(self, name), getattr(other, name)
            merged[name] = max(mine, theirs) if name.endswith("_max") else mine + theirs
        return PolicyStats(**merged)

    def _mean(self, total: float) -> float:
        return total / max(self.num_tokens, 1.0)

    @property
    def entropy(self) -> float:
        """Mean entropy of a token's distribution, nats."""
        return self._mean(self.entropy_sum)

    @property
    def approx_kl(self) -> float:
        """Mean k3 estimate of KL(old || current) (or of the engine's, if the ratio is against it), nats a token."""
        return self._mean(self.approx_kl_sum)

    @property
    def clip_frac(self) -> float:
        """Share of tokens that a clip took the gradient from."""
        return self._mean(self.clip_sum)

    @property
    def kl(self) -> float:
        """Mean estimate of KL(current || reference), nats a token."""
        return self._mean(self.kl_sum)

    @property
    def importance_weight(self) -> float:
        """Mean weight between engine and learner; near 1 if they agree."""
        return self._mean(self.importance_weight_sum)

    @property
    def importance_capped_frac(self) -> float:
        """Share of tokens whose weight was cut at the cap."""
        return self._mean(self.importance_capped_sum)

    @property
    def rollout_logprob_diff_mean(self) -> float:
        """Mean |old - rollout|, nats a token."""
        return self._mean(self.rollout_logprob_diff_sum)

    @property
    def rollout_logprob_diff_exp_mean(self) -> float:
        """Mean exp |old - rollout|."""
        return self._mean(self.rollout_logprob_diff_exp_sum)
