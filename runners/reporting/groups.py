"""Completions of one problem, as the page of samples shows them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCompletion:
    """A completion.

    Attributes:
        text: All of it, or its beginning.
        reward: Its return; None where it is missing.
        correct: The verdict on it; None where there is none.
        truncated: Whether max_tokens, or another limit, cut it.
        num_tokens: Of the policy.
        advantage: None where it is not known.
        tokens: [C] texts of its tokens, the last ones left out where there are many; none where they were not kept.
        rollout_logprobs: [C] the engine's, nats; None off the policy's own tokens.
        logprob_diffs: [C] them less the learner's before the update, likewise; none where those are not known.
    """

    text: str
    reward: float | None
    correct: bool | None
    truncated: bool
    num_tokens: int | None
    advantage: float | None = None
    tokens: Sequence[str] = ()
    rollout_logprobs: Sequence[float | None] = ()
    logprob_diffs: Sequence[float | None] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The completions of one problem.

    Attributes:
        kind: "training", "evaluation".
        step: After which, or in which, it was sampled; None outside a run.
        name: Its number, as shown.
        prompt: The environment's text.
        ground_truth: The true answer, where it is known.
        level: Steps of the problem's solution, where they are known.
        reward_mean: Over all members, those that are not shown included.
        zero_variance: Whether all its rewards are equal, of two or more.
        completions: [G'] those shown.
        size: G.
    """

    kind: str
    step: int | None
    name: str
    prompt: str
    ground_truth: str | None
    level: int | None
    reward_mean: float | None
    zero_variance: bool
    completions: Sequence[ShownCompletion]
    size: int


def training_groups(rows: Iterable[Mapping[str, Any]]) -> list[Group]:
    """Returns the groups of the rows of `run_folder.kept_rollouts`."""
    by_group: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        by_group.setdefault((int(row["step"]), row["group_id"]), []).append(row)
    return [
        Group(
            kind="training",
            step=step,
            name=str(group_id),
            prompt=members[0]["prompt"],
            ground_truth=members[0]["ground_truth"],
            level=level(members[0]["num_steps"]),
            reward_mean=members[0]["group_reward_mean"],
            zero_variance=members[0]["zero_variance"],
            completions=[_completion(row) for row in members],
            size=members[0]["group_size"],
        )
        for (step, group_id), members in by_group.items()
    ]


def greedy_groups(rows: Iterable[Mapping[str, Any]]) -> list[Group]:
    """Returns the rows of a run's samples.jsonl, a group of one each."""
    seen: Counter[int] = Counter()
    groups = []
    for row in rows:
        step, reward = int(row["step"]), row["reward"]
        seen[step] += 1
        completion = ShownCompletion(
            text=row["completion"],
            reward=None if math.isnan(reward) else reward,
            correct=row.get("correct"),
            truncated=row["finish_reason"] == "length",
            num_tokens=None,
        )
        groups.append(
            Group(
                kind="evaluation",
                step=step,
                name=f"greedy {seen[step]}",
                prompt=row["prompt"],
                ground_truth=None,
                level=None,
                reward_mean=completion.reward,
                zero_variance=False,
                completions=[completion],
                size=1,
            )
        )
    return groups


def level(num_steps: object) -> int | None:
    """Returns the steps of a solution; None where the environment does not tell them, or nothing is annotated."""
    return num_steps if type(num_steps) is int and num_steps > 0 else None


def fitting(groups: Sequence[Group], most_bytes: int) -> Sequence[Group]:
    """Returns every k-th group, of the smallest k with which they have as many bytes at most, as JSON."""
    sizes = [len(json.dumps(to_json(group))) for group in groups]
    every = 1
    while sum(sizes[::every]) > most_bytes and every < len(sizes):
        every += 1
    return groups[::every]


def to_json(group: Group) -> dict[str, Any]:
    """Returns a group as the page's script reads it."""
    return asdict(group)


def _completion(row: Mapping[str, Any]) -> ShownCompletion:
    return ShownCompletion(
        text=row["completion"],
        reward=row["reward"],
        correct=row["correct"],
        truncated=row["finish_reason"] == "length",
        num_tokens=row["num_tokens"],
        advantage=row["advantage"],
        tokens=row["tokens"],
        rollout_logprobs=row["rollout_logprobs"],
        logprob_diffs=row.get("rollout_logprob_diff", ()),
    )
