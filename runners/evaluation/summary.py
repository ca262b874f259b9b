"""Scored completions to one summary: as JSON for results.json, and as lines to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from runners.evaluation.prompts import ENVIRONMENT
from runners.evaluation.samples import Sample, complete_problems
from runners.evaluation.scoring import ModeScore, ScoredSample, grade_sample, score_mode
from runners.evaluation.statistics import Estimate, mean_over_problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """An evaluation in numbers.

    Attributes:
        num_problems: N, the problems that the numbers are of.
        num_samples: n, completions for each.
        incomplete_problems: Problems left out because they have fewer completions than the others.
        modes: Grading mode -> its scores; none where the environment is to judge and gives no verdict.
        reward: Mean of the episodes' returns that are known; None if none is.
        missing_rewards: Episodes whose reward the environment could not compute.
        mean_turns: Mean steps of an episode.
        truncated_share: Share of completions that ran out of tokens.
        finish_reasons: How the engine ended them -> how many.
        mean_tokens: Mean length of a completion in tokens, the end token included.
        max_tokens: Length of the longest.
        generation_seconds: Time the engine took, over all sessions.
        tokens_per_second: Completion tokens over that time.
    """

    num_problems: int
    num_samples: int
    incomplete_problems: int
    modes: Mapping[str, ModeScore]
    reward: Estimate | None
    missing_rewards: int
    mean_turns: float
    truncated_share: float
    finish_reasons: Mapping[str, int]
    mean_tokens: float
    max_tokens: int
    generation_seconds: float
    tokens_per_second: float

    def to_json(self) -> dict[str, Any]:
        """Returns the summary as JSON values."""
        fields = {name: getattr(self, name) for name in self.__slots__ if name not in ("modes", "finish_reasons")}
        return fields | {
            "reward": asdict(self.reward) if self.reward else None,
            "finish_reasons": dict(self.finish_reasons),
            "scores": {mode: _mode_json(score) for mode, score in self.modes.items()},
        }


def summarize(
    samples: Sequence[Sample], *, stop: tuple[str, ...], grading: Sequence[str], ks: Sequence[int]
) -> tuple[Summary, list[ScoredSample]]:
    """Grades every sample and returns the summary with the graded samples, in the order given.

    Raises:
        ValueError: If there is no sample, or two runs are in one file.
    """
    groups, incomplete = complete_problems(samples)
    if not groups:
        raise ValueError("There is no completion to score yet.")
    scored = [grade_sample(sample, stop, grading) for sample in samples]
    graded = {(item.sample.index, item.sample.sample): item for item in scored}
    problems = [[graded[sample.index, sample.sample] for sample in group] for group in groups]
    judged = all(sample.correct is not None for sample in samples)
    rewards = [[sample.reward for sample in group if sample.reward is not None] for group in groups]
    known = [float(np.mean(group)) for group in rewards if group]
    lengths = [sample.num_tokens for sample in samples]
    seconds = sum({sample.batch: sample.batch_seconds for sample in samples}.values())
    summary = Summary(
        num_problems=len(groups),
        num_samples=len(groups[0]),
        incomplete_problems=incomplete,
        modes={mode: score_mode(problems, mode, ks) for mode in grading if mode != ENVIRONMENT or judged},
        reward=mean_over_problems(known) if known else None,
        missing_rewards=sum(sample.reward is None for sample in samples),
        mean_turns=float(np.mean([sample.num_turns for sample in samples])),
        truncated_share=float(np.mean([item.truncated for item in scored])),
        finish_reasons=Counter(sample.finish_reason for sample in samples),
        mean_tokens=float(np.mean(lengths)),
        max_tokens=max(lengths),
        generation_seconds=round(seconds, 3),
        tokens_per_second=round(sum(lengths) / seconds, 1) if seconds else 0.0,
    )
    return summary, scored


def scored_row(scored: ScoredSample) -> dict[str, Any]:
    """Returns a sample's row with its grades."""
    grades = {mode: asdict(grade) for mode, grade in scored.grades.items()}
    return scored.sample.to_row() | {"truncated": scored.truncated, "grades": grades}


def summary_lines(summary: Summary) -> list[str]:
    """Returns the summary as a table and a line: percentages, with one standard error."""
    n = summary.num_samples
    rows = [_table_row(mode, score, n) for mode, score in summary.modes.items()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = [names, *([row[name] for name in names] for row in rows)] if rows else []
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    if summary.reward:
        turns = f", {summary.mean_turns:.2f} turns" if summary.mean_turns > 1 else ""
        lines.append(f"reward {summary.reward.value:.3f} ± {summary.reward.standard_error:.3f}{turns}")
    if summary.missing_rewards:
        lines.append(f"{summary.missing_rewards} rewards are missing: the environment could not compute them.")
    lines.append(
        f"{summary.num_problems} problems x {n}, truncated {summary.truncated_share:.1%}, mean length "
        f"{summary.mean_tokens:.0f} tokens, {summary.tokens_per_second:.0f} tokens/s"
    )
    if summary.incomplete_problems:
        lines.append(f"{summary.incomplete_problems} problems with fewer than {n} completions are left out.")
    return lines


def _table_row(mode: str, score: ModeScore, n: int) -> dict[str, str]:
    low, high = score.interval
    row = {"grading": mode, "accuracy" if n == 1 else f"avg@{n}": _percent(score.accuracy)}
    row["95 % interval"] = f"{100 * low:.1f} to {100 * high:.1f}"
    if score.answered is not None:
        row["answered"] = f"{100 * score.answered:.1f}"
    # pass@1 and maj@1 are the accuracy.
    row |= {f"pass@{k}": _percent(estimate) for k, estimate in score.pass_at.items() if k > 1}
    return row | {f"maj@{k}": _percent(estimate) for k, estimate in score.majority_at.items() if k > 1}


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.1f} ± {100 * estimate.standard_error:.1f}"


def _mode_json(score: ModeScore) -> dict[str, Any]:
    return {
        "accuracy": score.accuracy.value,
        "standard_error": score.accuracy.standard_error,
        "wilson_95": list(score.interval),
        "answered_share": score.answered,
        "pass_at_k": {str(k): asdict(estimate) for k, estimate in score.pass_at.items()},
        "maj_at_k": {str(k): asdict(estimate) for k, estimate in score.majority_at.items()},
    }
