"""The report of a run of `runners/grpo.py` or `runners/sft.py`, from its folder alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runners.comparing.records import RunRecord
from runners.replaying.scored_dumps import scored_rows
from runners.reporting.groups import Group, greedy_groups, training_groups
from runners.reporting.mismatches import mismatched_steps, mismatched_tokens
from runners.reporting.page import Headline, Page, Table, write_page
from runners.reporting.run_charts import charts
from runners.run_folder.metrics import METRICS
from runners.run_folder.reading import read_rows, read_sessions

# Greedy samples of as many evaluations, the newest.
_EVALUATIONS = 10
_FACTS = (
    ("seed", "seed"),
    ("steps", "run.steps"),
    ("problems", "env_options.dataset"),
    ("model", "agents.policy_model"),
    ("engine", "agents.engine"),
    ("LoRA rank", "agents.lora_rank"),
    ("algorithm", "training.algorithm"),
    ("advantage", "training.advantage"),
    ("surrogate", "training.surrogate"),
    ("prompts x group", "training.num_prompts"),
    ("minibatch", "training.minibatch_size"),
    ("max_tokens", "training.max_tokens"),
    ("temperature", "training.temperature"),
    ("lr", "training.lr"),
    ("kl_coeff", "training.kl_coeff"),
    ("env runners, learners", "resources.num_env_runners"),
)


def write_run_report(run: Path) -> Path:
    """Writes runs/NAME/report.html and returns its path.

    Raises:
        ValueError: If there is no run, or a file of it cannot be read; the message names it.
        ImportError: If a package is missing; the message has the command that installs it.
        OSError: If it cannot be written.
    """
    return write_page(run_page(run), run / "report.html")


def run_page(run: Path) -> Page:
    """Returns the report of a run. Raises as `write_run_report`, but OSError."""
    record = RunRecord.read(run)
    rows = [record.rows[step] for step in sorted(record.rows)]
    if not rows:
        raise ValueError(f"{run / 'metrics.jsonl'} has no row yet: there is nothing to report.")
    session = (read_sessions(run) or [{}])[-1]
    groups = _groups(run)
    return Page(
        title=run.resolve().name,
        subtitle=_subtitle(record.config, session, rows),
        command=str(session.get("command", "")),
        facts=_facts(record.config),
        headlines=_headlines(rows),
        charts=charts(record, rows),
        tables=[*mismatched_steps(rows), *mismatched_tokens(groups), _metrics_table(rows)],
        groups=groups,
        samples_note=(
            "Of steps spread over the run the first four groups, up to eight completions each, and four greedy "
            "completions of each of the last ten evaluations."
        ),
    )


def _groups(run: Path) -> list[Group]:
    """Returns training's, the newest first, and evaluation's; a group of a scored dump in the place of the same one."""
    scored = scored_rows(run)
    there = {(row["step"], row["group_id"]) for row in scored}
    kept = [row for row in read_rows(run / "rollouts.jsonl") if (row["step"], row["group_id"]) not in there]
    greedy = list(read_rows(run / "samples.jsonl"))
    steps = sorted({row["step"] for row in greedy})[-_EVALUATIONS:]
    try:
        groups = training_groups([*scored, *kept])
        groups += greedy_groups(row for row in greedy if row["step"] in steps)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"rollouts.jsonl or samples.jsonl of {run} has a row without {error}: mend or remove it."
        ) from error
    return sorted(groups, key=lambda group: (group.kind != "training", -(group.step or 0)))


def _subtitle(config: Mapping[str, Any], session: Mapping[str, Any], rows: Sequence[Mapping[str, float]]) -> str:
    commit = str(session.get("commit") or "unknown")
    versions = session.get("versions", {})
    return (
        f"{config['trainer'].upper()} of preset {Path(config['preset']).stem} on {config['environment']}, "
        f"step {rows[-1]['step']:.0f} of {config['run'].get('steps', '?')}; started {session.get('time', 'unknown')}, "
        f"commit {commit[:10]}, torch {versions.get('torch', 'unknown')}, ray {versions.get('ray', 'unknown')}"
    )


def _facts(config: Mapping[str, Any]) -> dict[str, str]:
    facts = {}
    for label, name in _FACTS:
        section, _, key = name.rpartition(".")
        value = config[section].get(key) if section else config[key]
        if value is not None:
            facts[label] = str(value)
    if {"num_prompts", "group_size"} <= config["training"].keys():
        facts["prompts x group"] = f"{config['training']['num_prompts']} x {config['training']['group_size']}"
    facts["env runners, learners"] = ", ".join(
        str(config["resources"].get(name, 0)) for name in ("num_env_runners", "num_learners")
    )
    return facts


def _headlines(rows: Sequence[Mapping[str, float]]) -> list[Headline]:
    """Returns what a run is judged by: each at its end, with its start beside it."""
    found = []
    for label, name, error, form in (
        ("greedy accuracy", "eval_accuracy", "eval_standard_error", ".3f"),
        ("sampled accuracy", "eval_sampled_accuracy", "eval_sampled_standard_error", ".3f"),
        ("training reward", "reward_mean", None, ".3f"),
        ("loss", "loss", None, ".3g"),
        ("tokens a completion", "completion_tokens_mean", None, ".0f"),
        ("tokens/s", "tokens_per_s", None, ".0f"),
    ):
        with_it = [row for row in rows if name in row]
        if not with_it:
            continue
        first, last = with_it[0], with_it[-1]
        found.append(
            Headline(
                label=label,
                value=f"{last[name]:{form}}",
                error=f"{last[error]:{form}}" if error and error in last else "",
                note=f"step {last['step']:.0f}, first {first[name]:{form}}",
            )
        )
    return found


def _metrics_table(rows: Sequence[Mapping[str, float]]) -> Table:
    shown = []
    for name, (_, meaning) in METRICS.items():
        values = [(row["step"], row[name]) for row in rows if name in row]
        if values:
            numbers = [value for _, value in values if value == value] or [float("nan")]
            shown.append(
                [name, *(f"{v:.6g}" for v in (values[0][1], values[-1][1], min(numbers), max(numbers))), meaning]
            )
    return Table(
        id="metrics",
        title="All metrics",
        caption="Of metrics.jsonl, at the first and last step that have them.",
        header=("metric", "first", "last", "least", "most", "meaning"),
        rows=shown,
        folded=True,
    )
