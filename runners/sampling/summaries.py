"""What a set of rollouts amounts to, in numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from runners.objectives.advantages import GroupAdvantages
from runners.sampling.refills import StepSample
from runners.sampling.rollout import Rollout

_NO_MEASURES = ("correct", "index")


def rollout_summary(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Returns the means over B rollouts; see `runners.run_folder.metrics` for each name's meaning."""
    rewards = np.array([r.reward for r in rollouts])
    known = rewards[~np.isnan(rewards)]
    summary = {
        "reward_mean": float(known.mean()) if known.size else math.nan,
        "reward_std": float(known.std()) if known.size else math.nan,
        "missing_rewards": float(np.isnan(rewards).sum()),
        **token_summary(rollouts),
        "truncated_share": float(np.mean([r.finish_reason == "length" for r in rollouts])),
        "turns_mean": float(np.mean([r.num_turns for r in rollouts])),
    }
    correct = [r.correct for r in rollouts if r.correct is not None]
    if correct:
        summary["accuracy"] = float(np.mean(correct))
    return {**summary, **info_summary(rollouts)}


def info_summary(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Returns info_NAME -> mean of every number and flag in the environment's infos, over the episodes that have it.

    Left out are those that have a metric of their own or say which problem it is.
    """
    found: dict[str, list[float]] = {}
    for rollout in rollouts:
        for name, value in rollout.info.items():
            if name not in _NO_MEASURES and isinstance(value, (bool, int, float)):
                found.setdefault(f"info_{name}", []).append(float(value))
    return {name: float(np.mean(values)) for name, values in found.items()}


def token_summary(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Returns how long B rollouts are."""
    lengths = np.array([r.num_own_tokens for r in rollouts])
    return {
        "completion_tokens_mean": float(lengths.mean()),
        "completion_tokens_max": float(lengths.max()),
        "prompt_tokens_mean": float(np.mean([len(r.prompt_token_ids) for r in rollouts])),
        "num_completion_tokens": float(lengths.sum()),
    }


def episode_summary(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Returns returns, lengths in turns, and counts under the names that RLlib's reporters and stoppers look for."""
    turns = np.array([r.num_turns for r in rollouts])
    rewards = np.array([r.reward for r in rollouts])
    known = rewards[~np.isnan(rewards)]
    values = {"return": known if known.size else np.array([math.nan]), "len": turns}
    summary = {
        f"episode_{name}_{of}": float(getattr(array, of)())
        for name, array in values.items()
        for of in ("mean", "min", "max")
    }
    return {**summary, "num_episodes": len(rollouts), "num_env_steps_sampled": int(turns.sum())}


def step_summary(sample: StepSample) -> dict[str, float]:
    """Returns `rollout_summary` of everything sampled, and how much of it is trained on.

    The groups that dynamic sampling leaves out count in the means: without them the mean reward would say what was
    chosen, not how good the policy is.
    """
    summary = rollout_summary([*sample.rollouts, *sample.discarded])
    trained = sum(r.num_own_tokens for r in sample.rollouts)
    return {
        **summary,
        "num_completion_tokens": float(trained),
        "num_sampled_completion_tokens": summary["num_completion_tokens"],
        "num_refills": float(sample.num_refills),
        "num_refill_rollouts": float(len(sample.discarded)),
        "num_dropped_prompts": float(sample.num_dropped_prompts),
        **sample.measures,
    }


def group_summary(advantages: GroupAdvantages) -> dict[str, float]:
    """Returns the share of groups, of those trained on, whose rewards are all equal: they teach nothing."""
    return {"zero_variance_share": advantages.num_zero_variance_groups / max(1, advantages.num_groups)}


def evaluation_summary(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Returns `rollout_summary` with the standard error of the accuracy (of the mean reward without one).

    One episode a problem, so the problems are independent draws: se = sqrt(p (1 - p) / n) for 0/1 outcomes.
    """
    summary = rollout_summary(rollouts)
    outcomes = np.array([r.reward if r.correct is None else float(r.correct) for r in rollouts])
    outcomes = outcomes[~np.isnan(outcomes)]
    summary["standard_error"] = float(outcomes.std() / math.sqrt(outcomes.size)) if outcomes.size else math.nan
    summary["num_problems"] = float(len(rollouts))
    return summary
