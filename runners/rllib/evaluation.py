"""Evaluation of a `TextAlgorithm`: the held-out problems, greedy and sampled, one episode each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ray.rllib.callbacks.utils import make_callback
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from runners.sampling.rollout import GroupReset
from runners.sampling.summaries import episode_summary, evaluation_summary
from runners.support.errors import UserError


def evaluate(algo: Any, problems: Sequence[GroupReset]) -> dict[str, Any]:
    """Evaluates on the training env runners and their engines, and calls the callbacks.

    Sampled is at the training temperature unless `evaluation_config` has another, and on `eval_sampled_problems` of the
    problems: the completions that all of them would have.

    Returns:
        {"greedy": `evaluation_summary`, "sampled": the same where anything was sampled, "env_runners": greedy's
        `episode_summary`, and what callbacks logged}.

    Raises:
        ValueError: If every prompt is too long.
    """
    _call_back(algo, "on_evaluate_start")
    config = algo.evaluation_config
    sampling = config.sampling_params(n=1)
    greedy = algo.sample(problems, replace(sampling, temperature=0.0), "eval").rollouts
    sampled = algo.sample(_spread(problems, algo.config.eval_sampled_problems), sampling, "eval").rollouts
    if not greedy:
        raise all_dropped(config.max_prompt_tokens)
    algo.evaluation_rollouts = greedy
    logged = MetricsLogger(root=True)
    logged.aggregate(algo.callbacks_metrics())
    results = {
        "greedy": evaluation_summary(greedy),
        **({"sampled": evaluation_summary(sampled)} if sampled else {}),
        ENV_RUNNER_RESULTS: {**logged.compile(), **episode_summary(greedy)},
    }
    _call_back(algo, "on_evaluate_end", evaluation_metrics=results)
    return results


def _spread(problems: Sequence[GroupReset], count: int | None) -> list[GroupReset]:
    """Returns some of the problems, evenly spread over them; None is all."""
    count = len(problems) if count is None else min(count, len(problems))
    return [problems[place * len(problems) // count] for place in range(count)]


def all_dropped(limit: int) -> UserError:
    """Returns the error where no prompt is short enough."""
    return UserError(
        f"Every prompt is longer than max_prompt_tokens={limit}: nothing is left to sample. "
        "Raise it with training(max_prompt_tokens=...) or --set max_prompt_tokens=N."
    )


def all_too_long(config: Any) -> UserError:
    """Returns the error where no problem with its solution is short enough."""
    return UserError(
        f"Every problem has a prompt longer than max_prompt_tokens={config.max_prompt_tokens} or a solution longer "
        f"than max_tokens={config.max_tokens}: nothing is left to learn from. Raise them with training(...) or --set."
    )


def _call_back(algo: Any, name: str, **kwargs: Any) -> None:
    kwargs = {"algorithm": algo, "metrics_logger": algo.metrics, **kwargs}
    make_callback(name, algo.callbacks, getattr(algo.config, f"callbacks_{name}"), kwargs=kwargs)
