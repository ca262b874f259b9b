"""The metrics of a step: where each stands in RLlib's result, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ROLLOUTS, _LEARNER, _EVALUATION = "rollouts", "learners/default_policy", "evaluation"

# name -> (place in the result, meaning). This table is the documentation of metrics.jsonl.
METRICS: dict[str, tuple[str, str]] = {
    "reward_mean": (
        _ROLLOUTS,
        "Mean return of all episodes sampled in the step, as the environment gave it; missing ones left out.",
    ),
    "reward_std": (_ROLLOUTS, "Standard deviation of the same returns."),
    "accuracy": (_ROLLOUTS, "Share of episodes whose last step the environment calls correct, where it does."),
    "zero_variance_share": (
        _ROLLOUTS,
        "Share of the groups trained on whose rewards, shaped, are all equal: they teach nothing.",
    ),
    "missing_rewards": (
        _ROLLOUTS,
        "Episodes whose reward the environment could not compute (NaN), or whose completion the engine aborted.",
    ),
    "completion_tokens_mean": (_ROLLOUTS, "Mean tokens the policy wrote in an episode, end tokens included."),
    "completion_tokens_max": (_ROLLOUTS, "Most tokens the policy wrote in an episode."),
    "prompt_tokens_mean": (_ROLLOUTS, "Mean tokens of a prompt."),
    "num_completion_tokens": (_ROLLOUTS, "The policy's tokens that are trained on, or the solutions'."),
    "num_sampled_completion_tokens": (_ROLLOUTS, "Tokens generated in the step, thrown away or not."),
    "num_sampled_completion_tokens_lifetime": (_ROLLOUTS, "The same since the start: the budget used."),
    "num_refills": (_ROLLOUTS, "Rounds in which dynamic_sampling drew further problems."),
    "num_refill_rollouts": (_ROLLOUTS, "Episodes sampled for them: as many were thrown away."),
    "turns_mean": (_ROLLOUTS, "Mean turns of an episode; 1 where the environment has one step an episode."),
    "truncated_share": (
        _ROLLOUTS,
        "Share of episodes whose last turn max_tokens, max_episode_tokens or the context cut.",
    ),
    "num_dropped_prompts": (
        _ROLLOUTS,
        "Prompts over max_prompt_tokens, and solutions over max_tokens, replaced by the next problems.",
    ),
    "epoch": (_ROLLOUTS, "Passes over the problems so far; 0 for an endless environment."),
    "policy_version": (_ROLLOUTS, "Updates that the agents' weights have seen."),
    "sync_logprob_diff": (
        _ROLLOUTS,
        "Mean |engine - learner logprob| after the step's weight sync, on prompts of its batch.",
    ),
    "staleness_mean": (
        _ROLLOUTS,
        "Mean updates between the weights that drew a token and those that the update starts from; max_staleness only.",
    ),
    "staleness_max": (_ROLLOUTS, "The most of these."),
    "engine_idle_s": (
        _ROLLOUTS,
        "Seconds in which an engine had nothing to sample, summed over engines; max_staleness only.",
    ),
    "num_env_runner_restarts": (_ROLLOUTS, "Env runners restarted since the start."),
    "loss": (
        _LEARNER,
        "The objective's value, mean over the step's optimizer steps; in supervised fine-tuning nats a token.",
    ),
    "entropy": (_LEARNER, "Mean entropy (nats) of the policy at the completions' tokens."),
    "approx_kl": (_LEARNER, "Mean k3 estimate of KL(old || current) at each optimizer step (nats a token)."),
    "ref_kl": (_LEARNER, "Mean KL estimate to the reference policy, with kl_estimator; absent without a reference."),
    "clip_frac": (_LEARNER, "Share of tokens whose ratio the clip holds back."),
    "ratio_max": (_LEARNER, "Largest ratio of current to old probability of a token."),
    "importance_weight_mean": (_LEARNER, "Mean truncated importance weight; 1 when importance_cap is off."),
    "vf_loss": (
        _LEARNER,
        "Squared error of the values, averaged as the loss, of which it is no part; advantage=gae only.",
    ),
    "vf_explained_var": (
        _LEARNER,
        "1 - var(target - value) / var(target) before the update: 1 is best; advantage=gae.",
    ),
    "grad_norm": (_LEARNER, "Norm of the gradient before clipping, mean over the optimizer steps."),
    "rollout_logprob_diff_mean": (_LEARNER, "Mean |rollout - old logprob|: how far engine and learner disagree."),
    "rollout_logprob_diff_exp_mean": (
        _LEARNER,
        "Mean exp |rollout - old logprob|: 1 where both agree; with max_staleness it warns above 1.5.",
    ),
    "rollout_logprob_diff_max": (_LEARNER, "Largest |rollout - old logprob| of the step."),
    "sample_s": (_ROLLOUTS, "Seconds of sampling, rewards included; with max_staleness of waiting for it."),
    "update_s": (_ROLLOUTS, "Seconds of the update, advantages included; in supervised fine-tuning of the step."),
    "sync_s": (_ROLLOUTS, "Seconds of handing the weights to the agents."),
    "tokens_per_s": (_ROLLOUTS, "Generated tokens, or the solutions', over the seconds of the whole step."),
    "sample_tokens_per_s": (_ROLLOUTS, "Generated tokens over the seconds of sampling."),
    "eval_accuracy": (f"{_EVALUATION}/greedy", "Greedy accuracy on the evaluation's problems."),
    "eval_standard_error": (f"{_EVALUATION}/greedy", "Standard error of eval_accuracy."),
    "eval_reward_mean": (f"{_EVALUATION}/greedy", "Greedy mean reward on the evaluation's problems."),
    "eval_truncated_share": (f"{_EVALUATION}/greedy", "Share of greedy completions cut by max_tokens."),
    "eval_completion_tokens_mean": (f"{_EVALUATION}/greedy", "Mean tokens of a greedy completion."),
    "eval_num_problems": (f"{_EVALUATION}/greedy", "Problems evaluated."),
    "eval_sampled_accuracy": (
        f"{_EVALUATION}/sampled",
        "Accuracy on the same problems, or eval_sampled_problems of them, sampled as in training.",
    ),
    "eval_sampled_standard_error": (f"{_EVALUATION}/sampled", "Standard error of eval_sampled_accuracy."),
    "eval_sampled_reward_mean": (f"{_EVALUATION}/sampled", "Sampled mean reward on the same problems."),
    "eval_sampled_num_problems": (f"{_EVALUATION}/sampled", "Problems sampled."),
}


def metrics_row(result: Mapping[str, Any], step: int) -> dict[str, float]:
    """Returns {"step": step, name: value, ...} with the metrics of `METRICS` that an RLlib result holds.

    Behind them come info_NAME and eval_info_NAME, whatever numbers the environment's infos have.
    """
    row: dict[str, float] = {"step": step}
    for name, (place, _) in METRICS.items():
        key = name.removeprefix("eval_sampled_").removeprefix("eval_") if place.startswith(_EVALUATION) else name
        node: Any = result
        for part in (*place.split("/"), key):
            node = node.get(part) if isinstance(node, Mapping) else None
        if node is not None:
            row[name] = float(node)
    rollouts, greedy = result.get(_ROLLOUTS, {}), result.get(_EVALUATION, {}).get("greedy", {})
    for prefix, values in (("", rollouts), ("eval_", greedy)):
        row |= {prefix + name: float(value) for name, value in values.items() if name.startswith("info_")}
    return row


def markdown_table() -> str:
    """Returns the table of all metrics, as the documentation shows it."""
    lines = ["| metric | meaning |", "|---|---|"]
    return "\n".join(lines + [f"| `{name}` | {meaning} |" for name, (_, meaning) in METRICS.items()])
