"""The look before step 1: samples a little, as training will, and puts together what it says."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from agents.models import resolve_model
from agents.text import load_tokenizer
from runners.preflight.completions import LEAST_GROUPS, faults_of_completions
from runners.preflight.duration import faults_of_time
from runners.preflight.memory import faults_of_memory, memory_of
from runners.preflight.prompts import faults_of_prompts, faults_of_template
from runners.run_settings import RunSettings
from runners.sampling.problems import ProblemSampler
from runners.sampling.rollout import GroupReset, SampleResult
from runners.sampling.summaries import rollout_summary
from runners.settings import SamplingSettings

_COMPLETIONS = 32


def preflight(algo: Any, run: RunSettings, evaluation: Mapping[str, float], evaluation_s: float) -> list[str]:
    """Looks at a few dozen completions, or solutions, of an algorithm that has made no step.

    Evaluation's completions do not do: there is one of a problem, and only whole groups tell whether their rewards
    differ. The problems are those of step 2. A sequence's random numbers are its own, and no problem is drawn, so the
    run samples what it would have sampled.

    Args:
        algo: A `TextAlgorithm`.
        run: The run's limits.
        evaluation: The metrics of the evaluation before step 1.
        evaluation_s: Seconds that it took.

    Returns:
        A sentence for each thing that will spoil the run, or one that says that all is well.
    """
    config = algo.config
    sampling: SamplingSettings = config.noun(SamplingSettings)
    size = sampling.group_size
    problems = _problems_of_step_2(algo, min(sampling.num_prompts, max(LEAST_GROUPS, math.ceil(_COMPLETIONS / size))))
    solutions = bool(config.needs_solutions)
    started = time.perf_counter()
    if solutions:
        seen: SampleResult = algo.demonstrations.take(problems)
    else:
        seen = algo.sample(problems, config.sampling_params(), "train")
        algo.callbacks_metrics()  # what callbacks logged here is no step's
    sampled_s = time.perf_counter() - started
    tokenizer = load_tokenizer(resolve_model(config.policy_model), trust_remote_code=config.trust_remote_code)
    faults = [
        *faults_of_template(config.policy_model, tokenizer.chat_template is not None),
        *faults_of_prompts(len(problems), seen.num_dropped_prompts, sampling, solutions=solutions),
        *faults_of_memory(algo.updaters.tell(memory_of)),
    ]
    if not solutions:
        faults += faults_of_completions(seen.rollouts, sampling)
        evaluated = evaluation["eval_num_problems"] + evaluation.get("eval_sampled_num_problems", 0.0)
        # The faster of the two: a batch of few sequences leaves an engine idle.
        sequences_per_s = max(len(seen.rollouts) / sampled_s, evaluated / evaluation_s)
        timeout_s = config.sample_timeout_s if config.num_env_runners else None
        faults += faults_of_time(sampling.num_prompts * size, sequences_per_s, run, timeout_s)
    return faults or [_all_well(problems, seen, sampling, time.perf_counter() - started, solutions=solutions)]


def _problems_of_step_2(algo: Any, count: int) -> list[GroupReset]:
    upcoming = ProblemSampler(algo.problems.num_problems, algo.problems.seed)
    upcoming.draw(algo.config.num_prompts)
    return upcoming.draw(count)


def _all_well(
    problems: list[GroupReset], seen: SampleResult, sampling: SamplingSettings, seconds: float, *, solutions: bool
) -> str:
    if solutions:
        lengths = [len(rollout.completion_token_ids) for rollout in seen.rollouts]
        return f"all well: {len(problems)} solutions of {min(lengths)} to {max(lengths)} tokens ({seconds:.1f} s)"
    summary = rollout_summary(seen.rollouts)
    verdict = f"{summary['accuracy']:.0%} right" if "accuracy" in summary else f"mean reward {summary['reward_mean']:g}"
    return (
        f"all well: {len(seen.rollouts)} completions of {len(problems)} problems, {verdict}, "
        f"{summary['truncated_share']:.0%} cut at max_tokens={sampling.max_tokens} ({seconds:.1f} s)"
    )
