"""The report of an evaluation by `runners/evaluate.py`, from its folder alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runners.evaluation.files import EvaluationFolder, read_scored
from runners.evaluation.samples import complete_problems
from runners.evaluation.scoring import ScoredSample
from runners.reporting.groups import Group, ShownCompletion, level
from runners.reporting.levels import LevelScore, scores_by_level
from runners.reporting.page import Chart, Headline, Page, Table, write_page
from runners.reporting.plots import bars

_MOST_CHARS, _MOST_COMPLETIONS = 4096, 16
_FACTS = (
    "model", "engine", "num_problems", "prompt", "n", "temperature", "top_p", "max_tokens", "seed",
)  # fmt: skip
_AT_K = {"pass_at_k": "pass", "maj_at_k": "maj"}


def write_evaluation_report(folder: Path) -> Path:
    """Writes report.html into the folder of an evaluation that was scored, and returns its path.

    Raises:
        ValueError: If results.json or samples.jsonl is missing or cannot be read; the message names it.
        ImportError: If a package is missing; the message has the command that installs it.
        OSError: If it cannot be written.
    """
    return write_page(evaluation_page(folder), folder / "report.html")


def evaluation_page(folder: Path) -> Page:
    """Returns the report of an evaluation. Raises as `write_evaluation_report`, but OSError."""
    files = EvaluationFolder(folder)
    saved = _results(files.results_path)
    evaluation, results = saved.get("evaluation") or {}, saved["results"]
    modes = list(results["scores"])
    scored = {(item.sample.index, item.sample.sample): item for item in read_scored(files.samples_path)}
    groups, _ = complete_problems([item.sample for item in scored.values()])
    problems = [[scored[sample.index, sample.sample] for sample in group] for group in groups]
    by_level = {mode: scores_by_level(problems, mode) for mode in modes}
    session = (saved.get("sessions") or [{}])[-1]
    return Page(
        title=folder.resolve().name,
        subtitle=(
            f"Evaluation of {evaluation.get('model', 'completions of a file')} on "
            f"{evaluation.get('environment', 'an unknown environment')}; "
            f"{session.get('time', 'unknown time')}, commit {str(session.get('commit'))[:10]}"
        ),
        command=str(session.get("command", "")),
        facts=_facts(evaluation),
        headlines=_headlines(results),
        charts=[_chart(mode, scores) for mode, scores in by_level.items() if scores],
        tables=[_scores(results["scores"]), *(_levels(by_level) if any(by_level.values()) else [])],
        groups=[_group(group, modes) for group in problems],
        samples_note=f"Right and wrong by {modes[0]} grading." if modes else "",
    )


def _results(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
        _ = found["results"]["scores"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: {error}): score the samples again."
        ) from error
    return found


def _facts(evaluation: Mapping[str, Any]) -> dict[str, str]:
    facts = {name: str(evaluation[name]) for name in _FACTS if name in evaluation}
    return facts | {name: str(value) for name, value in evaluation.get("env_options", {}).items()}


def _headlines(results: Mapping[str, Any]) -> list[Headline]:
    found = []
    for mode, score in results["scores"].items():
        low, high = score["wilson_95"]
        found.append(
            Headline(
                label=f"accuracy, {mode}",
                value=f"{score['accuracy']:.3f}",
                error=f"{score['standard_error']:.3f}",
                note=f"95 % interval {low:.3f} to {high:.3f}",
            )
        )
    if results["reward"] is not None:
        found.append(Headline(label="reward", value=f"{results['reward']['value']:.3f}"))
    found.append(
        Headline(
            label="problems",
            value=f"{results['num_problems']} x {results['num_samples']}",
            note=f"{results['truncated_share']:.1%} truncated, mean length {results['mean_tokens']:.0f} tokens",
        )
    )
    return found


def _chart(mode: str, scores: Sequence[LevelScore]) -> Chart:
    return Chart(
        title=f"Accuracy by level, {mode} grading",
        caption="Level: lines of the solution with a calculation. The bars have Wilson's 95 % interval.",
        plot=bars(
            [_name(score) for score in scores],
            [score.score.accuracy.value for score in scores],
            [score.score.interval for score in scores],
            x_axis="level",
        ),
    )


def _scores(scores: Mapping[str, Any]) -> Table:
    # pass@1 and maj@1 are the accuracy.
    ks = {name: sorted({k for score in scores.values() for k in score[name]} - {"1"}, key=int) for name in _AT_K}
    rows = []
    for mode, score in scores.items():
        at_k = [_estimate(score[name].get(k)) for name in _AT_K for k in ks[name]]
        answered = "-" if score["answered_share"] is None else f"{score['answered_share']:.3f}"
        rows.append([mode, f"{score['accuracy']:.4f}", f"{score['standard_error']:.4f}", answered, *at_k])
    header = [f"{_AT_K[name]}@{k}" for name in _AT_K for k in ks[name]]
    return Table(
        id="scores",
        title="Scores",
        caption="Of results.json, with one standard error.",
        header=("grading", "accuracy", "standard error", "answered", *header),
        rows=rows,
    )


def _estimate(found: Mapping[str, float] | None) -> str:
    return "-" if found is None else f"{found['value']:.3f} ± {found['standard_error']:.3f}"


def _levels(by_level: Mapping[str, Sequence[LevelScore]]) -> list[Table]:
    rows = [
        [
            mode,
            _name(score),
            str(score.num_problems),
            f"{score.score.accuracy.value:.4f}",
            "{:.3f} to {:.3f}".format(*score.score.interval),
        ]
        for mode, scores in by_level.items()
        for score in scores
    ]
    return [
        Table(
            id="levels",
            title="Accuracy by level",
            caption="Level: lines of the solution with a calculation.",
            header=("grading", "level", "problems", "accuracy", "95 % interval"),
            rows=rows,
        )
    ]


def _name(score: LevelScore) -> str:
    return "unknown" if score.level is None else str(score.level)


def _group(group: Sequence[ScoredSample], modes: Sequence[str]) -> Group:
    first = group[0].sample
    rewards = [item.sample.reward for item in group if item.sample.reward is not None]
    return Group(
        kind="evaluation",
        step=None,
        name=str(first.index),
        prompt=first.question[:_MOST_CHARS],
        ground_truth=first.ground_truth,
        level=level(first.num_steps),
        reward_mean=sum(rewards) / len(rewards) if rewards else None,
        zero_variance=len(rewards) > 1 and len(set(rewards)) == 1,
        completions=[
            ShownCompletion(
                text=item.sample.completion[:_MOST_CHARS],
                reward=item.sample.reward,
                correct=item.grades[modes[0]].correct if modes else item.sample.correct,
                truncated=item.truncated,
                num_tokens=item.sample.num_tokens,
            )
            for item in group[:_MOST_COMPLETIONS]
        ],
        size=len(group),
    )
