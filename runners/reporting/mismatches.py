"""Where engine and learner disagree most: in which steps, and at which tokens where those are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runners.reporting.groups import Group
from runners.reporting.page import Table

_MOST = 10
_MOST_TOKENS = 20
_AROUND = 6


def mismatched_steps(rows: Sequence[Mapping[str, float]]) -> list[Table]:
    """Returns the table of the steps with the largest rollout_logprob_diff_max; none where no step has it."""
    name = "rollout_logprob_diff_max"
    worst = sorted((row for row in rows if row.get(name, -1.0) >= 0), key=lambda row: -row[name])[:_MOST]
    if not worst:
        return []
    columns = ("rollout_logprob_diff_max", "rollout_logprob_diff_mean", "sync_logprob_diff")
    return [
        Table(
            id="mismatched-steps",
            title="Largest differences between engine and learner: steps",
            caption="|rollout - old log-prob|, nats, over all tokens of the step.",
            header=("step", *columns),
            rows=[
                [f"{row['step']:.0f}", *(f"{row[column]:.3g}" if column in row else "-" for column in columns)]
                for row in worst
            ],
        )
    ]


def mismatched_tokens(groups: Sequence[Group]) -> list[Table]:
    """Returns the table of the tokens with the largest difference; none where no learner's log-probs are known."""
    found = []
    for group in groups:
        for member, completion in enumerate(group.completions):
            for place, apart in enumerate(completion.logprob_diffs):
                rollout = completion.rollout_logprobs[place]
                if rollout is not None and apart is not None:
                    found.append((group, member, place, rollout, apart))
    worst = sorted(found, key=lambda item: -abs(item[-1]))[:_MOST_TOKENS]
    if not worst:
        return []
    return [
        Table(
            id="mismatched-tokens",
            title="Largest differences between engine and learner: tokens",
            caption="Log-probs in nats, of the dumped steps that `runners/report.py --score-dumps` has scored.",
            header=("step", "group", "completion", "token", "engine", "engine - learner", "text around it"),
            rows=[
                [
                    str(group.step),
                    group.name,
                    str(member + 1),
                    str(place + 1),
                    f"{rollout:.4f}",
                    f"{apart:+.3g}",
                    _around(group.completions[member].tokens, place),
                ]
                for group, member, place, rollout, apart in worst
            ],
        )
    ]


def _around(tokens: Sequence[str], place: int) -> str:
    before, after = tokens[max(0, place - _AROUND) : place], tokens[place + 1 : place + 1 + _AROUND]
    return f"{''.join(before)}[{tokens[place]}]{''.join(after)}"
