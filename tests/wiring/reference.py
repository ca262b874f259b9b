"""GRPO and PPO once more, by plain loops: one sequence after the other, without padding, packing or sharding.

What `algo.train()` does is compared with this. It reads like the algorithm's description, and shares no line with
`runners`. Log-probabilities are in nats; token t's come from the logits at t - 1.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from tests.wiring.scripted import Episode


@dataclass(kw_only=True)
class Settings:
    """The settings that shape an update, with GRPO's defaults."""

    temperature: float = 1.0
    max_tokens: int = 256
    advantage: str = "grpo"
    clip_param: float = 0.2
    clip_param_high: float | None = None
    dual_clip: float | None = None
    ratio_reference: str = "old"
    importance_cap: float | None = 2.0
    aggregation: str = "token-mean"
    mask_truncated: bool = False
    kl_coeff: float = 0.0
    entropy_coeff: float = 0.0
    overlong_buffer: int = 0
    overlong_penalty: float = 1.0
    gamma: float = 1.0
    lambda_: float = 1.0
    whiten_advantages: bool = True
    vf_loss_coeff: float = 0.1
    vf_clip_param: float | None = None
    vf_lr: float = 1e-4
    lr: float = 1e-6
    grad_clip: float | None = 1.0
    adam_betas: tuple[float, float] = (0.9, 0.95)
    adam_epsilon: float = 1e-8
    weight_decay: float = 0.0

    @classmethod
    def of(cls, training: Mapping[str, Any]) -> Settings:
        """Those of them among the settings of `GRPOConfig.training`."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in training.items() if name in known})


@dataclass(kw_only=True)
class Scores:
    """What a model says of the N tokens that the policy wrote in a sequence; each [N]."""

    logprobs: torch.Tensor
    entropies: torch.Tensor
    values: torch.Tensor


@dataclass(kw_only=True)
class Row:
    """A sequence with all that is fixed before the first optimizer step; the tensors are [N], over its own tokens."""

    episode: Episode
    counts: bool  # in the loss, and in its denominators
    engine: torch.Tensor
    old: torch.Tensor
    ref: torch.Tensor
    advantages: torch.Tensor
    value_targets: torch.Tensor


class Adam:
    """AdamW (https://arxiv.org/abs/1711.05101)."""

    def __init__(self, parameters: Sequence[torch.Tensor], lr: float, settings: Settings) -> None:
        self.parameters, self.lr, self.settings = list(parameters), lr, settings
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.steps = 0

    @torch.no_grad()
    def step(self, gradients: Sequence[torch.Tensor]) -> None:
        beta1, beta2 = self.settings.adam_betas
        self.steps += 1
        for p, g, m, v in zip(self.parameters, gradients, self.first, self.second, strict=True):
            m.copy_(beta1 * m + (1 - beta1) * g)
            v.copy_(beta2 * v + (1 - beta2) * g * g)
            m_hat, v_hat = m / (1 - beta1**self.steps), v / (1 - beta2**self.steps)
            p.mul_(1 - self.lr * self.settings.weight_decay)
            p.sub_(self.lr * m_hat / (v_hat.sqrt() + self.settings.adam_epsilon))


class Reference:
    """The policy, its optimizer and, with advantage="gae", its critic.

    Args:
        folder: The policy before the first step, as `save_policy` wrote it.
        training: What was given to `GRPOConfig.training`.
    """

    def __init__(self, folder: Path, training: Mapping[str, Any]) -> None:
        self.settings = Settings.of(training)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.first_model = copy.deepcopy(self.model)  # what the KL term measures from
        self.head = torch.zeros(self.model.config.hidden_size, requires_grad=True)
        self.bias = torch.zeros(1, requires_grad=True)
        self.optimizer = Adam(list(self.model.parameters()), self.settings.lr, self.settings)
        self.head_optimizer = Adam([self.head, self.bias], self.settings.vf_lr, self.settings)

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self.model.named_parameters()}

    def score(self, episode: Episode, model: Any = None) -> Scores:
        output = (model or self.model)(torch.tensor([episode.ids]), output_hidden_states=True)
        logits = output.logits[0, :-1].float() / self.settings.temperature
        everything = torch.log_softmax(logits, dim=-1)
        logprobs = everything.gather(1, torch.tensor(episode.ids[1:])[:, None])[:, 0]
        entropies = -(everything.exp() * everything).sum(dim=-1)
        values = output.hidden_states[-1][0, :-1] @ self.head + self.bias
        own = torch.tensor(episode.own[1:])
        return Scores(logprobs=logprobs[own], entropies=entropies[own], values=values[own])

    @torch.no_grad()
    def prepare(self, episodes: Sequence[Episode]) -> list[Row]:
        """Advantages, and the log-probabilities of the policies that do not move."""
        rewards = [self.shaped_reward(episode) for episode in episodes]
        rows = []
        for number, episode in enumerate(episodes):
            own = torch.tensor(episode.own)
            scores = self.score(episode)
            group = [r for r, e in zip(rewards, episodes, strict=True) if e.problem == episode.problem]
            row = Row(
                episode=episode,
                counts=not (self.settings.mask_truncated and episode.cut),
                engine=torch.tensor(episode.engine)[own],
                old=scores.logprobs,
                ref=self.score(episode, self.first_model).logprobs,
                advantages=torch.zeros_like(scores.logprobs),
                value_targets=torch.zeros_like(scores.logprobs),
            )
            if self.settings.advantage == "gae":
                row.counts &= not math.isnan(rewards[number])
                self.estimate_by_critic(row, rewards[number], scores.values)
            else:
                advantage = group_advantage(rewards[number], group)
                row.counts &= advantage is not None
                row.advantages += advantage or 0.0
            rows.append(row)
        if self.settings.advantage == "gae" and self.settings.whiten_advantages:
            everything = [a for row in rows if row.counts for a in row.advantages.tolist()]
            centre = mean(everything)
            spread = math.sqrt(mean((a - centre) ** 2 for a in everything))
            for row in rows:
                row.advantages = (row.advantages - centre) / spread
        return rows

    def shaped_reward(self, episode: Episode) -> float:
        """The environment's, less DAPO's punishment of each answer for its last tokens before max_tokens."""
        buffer, reward = self.settings.overlong_buffer, episode.reward
        if buffer:
            for length in episode.lengths:
                over = length - (self.settings.max_tokens - buffer)
                reward -= self.settings.overlong_penalty * min(1.0, max(0.0, over / buffer))
        return reward

    def estimate_by_critic(self, row: Row, reward: float, values: torch.Tensor) -> None:
        """Generalized advantage estimation, from the last own token back to the first."""
        advantage = next_value = 0.0
        for t in reversed(range(len(values))):
            value = float(values[t])
            earned = reward if t == len(values) - 1 else 0.0
            delta = earned + self.settings.gamma * next_value - value
            advantage = delta + self.settings.gamma * self.settings.lambda_ * advantage
            row.advantages[t], row.value_targets[t] = advantage, advantage + value
            next_value = value

    def optimizer_step(self, minibatch: Sequence[Row]) -> dict[str, float]:
        """One step of the policy, and of the critic; returns the metrics."""
        s = self.settings
        rows = [row for row in minibatch if row.counts]
        loss, vf_loss = torch.zeros(()), torch.zeros(())
        seen: dict[str, list[float]] = {name: [] for name in ("entropy", "kl", "ref", "clip", "ratio", "weight", "gap")}
        for row in rows:
            now = self.score(row.episode)
            base = row.engine if s.ratio_reference == "rollout" else row.old
            ratio = (now.logprobs - base).exp()
            low, high = 1 - s.clip_param, 1 + (s.clip_param_high or s.clip_param)
            gain, losing = row.advantages, row.advantages < 0
            surrogate = torch.maximum(-ratio * gain, -ratio.clamp(low, high) * gain)
            clipped = ((ratio > high) & (gain > 0)) | ((ratio < low) & losing)
            if s.dual_clip is not None:
                surrogate = torch.where(losing, torch.minimum(surrogate, -s.dual_clip * gain), surrogate)
                clipped |= (ratio > s.dual_clip) & losing
            weight = torch.ones_like(row.old)
            if s.importance_cap is not None:
                weight = (row.old - row.engine).exp().clamp(max=s.importance_cap)
            to_first = row.ref - now.logprobs
            ref_kl = to_first.exp() - 1 - to_first  # k3
            token_losses = weight * surrogate + s.kl_coeff * ref_kl - s.entropy_coeff * now.entropies
            loss = loss + self.share(row, rows) * token_losses.sum()
            errors = (now.values - row.value_targets) ** 2
            if s.vf_clip_param is not None:
                errors = errors.clamp(max=s.vf_clip_param)
            vf_loss = vf_loss + self.share(row, rows) * errors.sum()

            moved = now.logprobs - base
            for name, numbers in (
                ("entropy", now.entropies),
                ("kl", moved.exp() - 1 - moved),
                ("ref", ref_kl),
                ("clip", clipped.float()),
                ("ratio", ratio),
                ("weight", weight),
                ("gap", (row.old - row.engine).abs()),
            ):
                seen[name] += numbers.tolist()
        parameters = list(self.model.parameters())
        total = loss
        if s.advantage == "gae":
            total, parameters = loss + s.vf_loss_coeff * vf_loss, [*parameters, self.head, self.bias]
        gradients = list(torch.autograd.grad(total, parameters))
        grad_norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients))
        body = gradients[: len(self.optimizer.parameters)]
        if s.grad_clip is not None:
            norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in body))
            body = [g * min(1.0, s.grad_clip / norm) for g in body]
        self.optimizer.step(body)
        if s.advantage == "gae":
            assert s.grad_clip is None, "no test needs a critic's gradients clipped"
            self.head_optimizer.step(gradients[-2:])
        return {
            "loss": float(loss.detach()),
            "vf_loss": float(vf_loss.detach()),
            "grad_norm": grad_norm,
            "entropy": mean(seen["entropy"]),
            "approx_kl": mean(seen["kl"]),
            "ref_kl": mean(seen["ref"]),
            "clip_frac": mean(seen["clip"]),
            "ratio_max": max(seen["ratio"]),
            "importance_weight_mean": mean(seen["weight"]),
            "rollout_logprob_diff_mean": mean(seen["gap"]),
            "rollout_logprob_diff_max": max(seen["gap"]),
            "rollout_logprob_diff_exp_mean": mean([math.exp(gap) for gap in seen["gap"]]),
        }

    def share(self, row: Row, rows: Sequence[Row]) -> float:
        """What one token's loss of a sequence counts in the loss of its minibatch."""
        if self.settings.aggregation == "token-mean":
            return 1 / sum(len(r.old) for r in rows)
        if self.settings.aggregation == "sequence-mean":
            return 1 / (len(rows) * len(row.old))
        return 1 / (sum(len(r.episode.lengths) for r in rows) * self.settings.max_tokens)


def group_advantage(reward: float, group: Sequence[float]) -> float | None:
    """(r - mean) / (std + 1e-4) over the known rewards of the group; None where there is nothing to compare."""
    known = [r for r in group if not math.isnan(r)]
    if math.isnan(reward) or len(known) < 2:
        return None
    return (reward - mean(known)) / (stdev(known) + 1e-4)


Plan = tuple[tuple[tuple[str, ...], ...], ...]  # for each epoch, for each minibatch, the problems of its groups


def deals(problems: Sequence[str], num_minibatches: int) -> Iterator[tuple[tuple[str, ...], ...]]:
    """Every way to deal groups into minibatches of equal size, one after the other."""
    if num_minibatches == 1:
        yield (tuple(problems),)
        return
    for first in itertools.combinations(problems, len(problems) // num_minibatches):
        rest = [problem for problem in problems if problem not in first]
        for later in deals(rest, num_minibatches - 1):
            yield (first, *later)


def possible_updates(
    reference: Reference, episodes: Sequence[Episode], *, num_minibatches: int = 1, num_epochs: int = 1
) -> Iterator[tuple[Plan, Reference, dict[str, float]]]:
    """Does the update in every way in which its groups may have been dealt: the plan, the policy after it, its metrics.

    A metric of an update is the mean over its optimizer steps, or the largest for those called `_max`.
    """
    rows = reference.prepare(episodes)
    problems = sorted({episode.problem for episode in episodes})

    def go_on(reference: Reference, plan: Plan, steps: list[dict[str, float]]) -> Iterator[Any]:
        if len(plan) == num_epochs:
            merge = {name: max if name.endswith("_max") else mean for name in steps[0]}
            yield plan, reference, {name: merge[name](step[name] for step in steps) for name in steps[0]}
            return
        for deal in deals(problems, num_minibatches):
            copied = copy.deepcopy(reference)
            more = [copied.optimizer_step([r for r in rows if r.episode.problem in minibatch]) for minibatch in deal]
            yield from go_on(copied, (*plan, deal), steps + more)

    yield from go_on(reference, (), [])


def distance(ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> float:
    """The largest difference of a weight."""
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)
