"""Rollouts of training that a run keeps to be looked at: rollouts.jsonl, a row each, bounded in size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from runners.sampling.rollout import Rollout

MOST_STEPS = 20
"""Steps in the file. With the bounds below it has 12 MB at the very most, and a tenth of it with short completions."""
MOST_GROUPS = 4
MOST_MEMBERS = 8
MOST_TOKENS = 512
_MOST_CHARS = 8 * MOST_TOKENS


class TokenTexts:
    """The text of a token by itself; half a character is shown as U+FFFD.

    Args:
        model: Whose tokens, as in the setting policy_model.
        trust_remote_code: As the setting.
    """

    def __init__(self, model: str, *, trust_remote_code: bool) -> None:
        # Whoever only reads the rows needs no transformers.
        from agents.models import resolve_model
        from agents.text import load_tokenizer

        self._tokenizer = load_tokenizer(resolve_model(model), trust_remote_code=trust_remote_code)
        self._texts: dict[int, str] = {}

    def __getitem__(self, token_id: int) -> str:
        if token_id not in self._texts:
            self._texts[token_id] = str(self._tokenizer.decode([token_id], clean_up_tokenization_spaces=False))
        return self._texts[token_id]


def kept_rows(
    step: int,
    rollouts: Sequence[Rollout],
    advantages: Sequence[float] | np.ndarray,
    token_texts: Mapping[int, str] | TokenTexts,
    old_logprobs: Sequence[np.ndarray] | None = None,
    groups: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """Returns rows of a step's first groups: problems come shuffled, so they are a fair sample.

    A group has its first MOST_MEMBERS members, a completion its first MOST_TOKENS tokens.

    Args:
        step: Which.
        rollouts: [B].
        advantages: [B].
        token_texts: Token id -> its text.
        old_logprobs: [B] arrays [C] of the learner's log-probs of the completions' tokens, where they are known: then
            rows have rollout_logprob_diff, with its sign.
        groups: The ids of the groups; None takes the first MOST_GROUPS.
    """
    chosen = list(dict.fromkeys(rollout.group_id for rollout in rollouts))[:MOST_GROUPS] if groups is None else groups
    of_group = {group: _group(rollouts, group) for group in chosen}
    members = dict.fromkeys(chosen, 0)
    rows = []
    for place, rollout in enumerate(rollouts):
        member = members.get(rollout.group_id, MOST_MEMBERS)
        if member == MOST_MEMBERS:
            continue
        members[rollout.group_id] += 1
        row = _row(rollout, float(advantages[place]), token_texts)
        if old_logprobs is not None:
            # Not the difference of rounded ones: it is often smaller than what rounding takes off.
            apart = rollout.rollout_logprobs.astype(np.float64) - old_logprobs[place]
            row["rollout_logprob_diff"] = _own(apart, rollout, "{:.3g}")
        place_of = {"step": step, "group_id": rollout.group_id, "member": member}
        rows.append({**place_of, **of_group[rollout.group_id], **row})
    return rows


def thinned(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the rows of MOST_STEPS steps: the first, the newest, and the others spread evenly between them."""
    steps = sorted({row["step"] for row in rows})
    while len(steps) > MOST_STEPS:
        del steps[min(range(1, len(steps) - 1), key=lambda place: steps[place + 1] - steps[place - 1])]
    return [row for row in rows if row["step"] in steps]


def _group(rollouts: Sequence[Rollout], group: int) -> dict[str, Any]:
    """Returns what is known of a whole group, those of its members included that are not kept."""
    rewards = [rollout.reward for rollout in rollouts if rollout.group_id == group]
    known = [reward for reward in rewards if not math.isnan(reward)]
    return {
        "group_size": len(rewards),
        "group_reward_mean": sum(known) / len(known) if known else None,
        "zero_variance": len(known) > 1 and len(set(known)) == 1,
    }


def _row(rollout: Rollout, advantage: float, token_texts: Mapping[int, str] | TokenTexts) -> dict[str, Any]:
    return {
        "prompt": rollout.observation[:_MOST_CHARS],
        "completion": rollout.text[:_MOST_CHARS],
        "ground_truth": rollout.info.get("ground_truth"),
        "num_steps": rollout.info.get("num_steps"),
        "reward": None if math.isnan(rollout.reward) else rollout.reward,
        "correct": rollout.correct,
        "finish_reason": rollout.finish_reason,
        "num_tokens": rollout.num_own_tokens,
        "policy_version": rollout.policy_version,
        "advantage": round(advantage, 4) if math.isfinite(advantage) else None,
        "tokens": [token_texts[token_id] for token_id in rollout.completion_token_ids[:MOST_TOKENS]],
        "rollout_logprobs": _own(rollout.rollout_logprobs, rollout, "{:.4f}"),
    }


def _own(values: np.ndarray, rollout: Rollout, form: str) -> list[float | None]:
    """Returns the first MOST_TOKENS of [C] numbers, rounded by a format; None where a token is not the policy's own.

    None too for what is no number, which JSON cannot say.
    """
    pairs = zip(values[:MOST_TOKENS].tolist(), rollout.completion_mask[:MOST_TOKENS].tolist(), strict=True)
    return [float(form.format(value)) if own and math.isfinite(value) else None for value, own in pairs]
