"""What the learner made of the tokens of dumped steps: runs/NAME/dumps/step_N/scored.jsonl.

The driver of a run never has the learner's log-probs of single tokens, only statistics of them. A dump has the state of
the learner before the step, and the rollouts: so they can be had afterwards, as they were.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np

from runners.run_folder.kept_rollouts import MOST_GROUPS, MOST_MEMBERS, MOST_TOKENS, TokenTexts, kept_rows
from runners.run_folder.reading import read_rows
from runners.sampling.rollout import Rollout
from runners.support.atomic import replacing

_SCORED = "scored.jsonl"
_WORST_GROUPS = 8


def scored_rows(run: Path) -> list[dict[str, Any]]:
    """Returns the rows of `kept_rollouts` with rollout_logprob_diff, of every dump that was scored, the steps in order.

    Raises:
        ValueError: For a line that is no row; the message names file and line.
    """
    return [row for path in sorted((run / "dumps").glob(f"step_*/{_SCORED}")) for row in read_rows(path)]


def score_dumps(run: Path, say: Callable[[str], Any]) -> None:
    """Scores the dumps of a run that were not scored yet, with as many learners as the run has.

    Args:
        run: The run's folder.
        say: Gets a line a dump.

    Raises:
        ValueError: If there is no dump, or one cannot be read; the message names it.
        UserError: If Ray or the learners cannot be had.
    """
    from runners.replaying.dumps import Dump
    from runners.replaying.learner_only import LearnerOnly, learner_settings
    from runners.rllib import cluster
    from runners.run_options import build_config
    from runners.run_settings import ResourceSettings
    from runners.support.errors import users_mistakes
    from runners.support.settings import from_mapping
    from runners.updating.batch import padded_columns

    folders = sorted((run / "dumps").glob("step_*"))
    if not folders:
        raise ValueError(f"{run} has no dumps to score: dump steps with --dump-steps, see docs/settings.md.")
    waiting = [folder for folder in folders if not (folder / _SCORED).is_file()]
    if not waiting:
        return
    settings = learner_settings(run)
    dumps = [Dump.read(folder) for folder in waiting]
    config = build_config(settings)
    texts = TokenTexts(config.policy_model, trust_remote_code=config.trust_remote_code)
    with users_mistakes():
        cluster.start(from_mapping(ResourceSettings, settings["resources"]))
        algo = LearnerOnly(config)
    for folder, dump in zip(waiting, dumps, strict=True):
        algo.restore_learners(dump.checkpoint, dump.num_env_steps_sampled)
        logprobs = algo.updaters.ask(methodcaller("logprobs", padded_columns(dump.rollouts)))
        rows = _rows(dump.iteration + 1, dump.rollouts, algo.advantages_of(dump.rollouts), logprobs, texts)
        with replacing(folder / _SCORED) as staging:
            staging.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="ascii")
        say(f"scored {folder}")
    algo.stop()


def _rows(
    step: int, rollouts: Sequence[Rollout], advantages: np.ndarray, logprobs: np.ndarray, texts: TokenTexts
) -> list[dict[str, Any]]:
    """Returns rows of the first groups and of those with the largest differences; logprobs is [B, T], the learner's."""
    starts = [len(rollout.prompt_token_ids) for rollout in rollouts]
    old = [
        row[start : start + len(rollout.completion_token_ids)]
        for row, start, rollout in zip(logprobs, starts, rollouts, strict=True)
    ]
    worst: dict[int, float] = {}
    members: dict[int, int] = {}
    for rollout, own in zip(rollouts, old, strict=True):
        members[rollout.group_id] = members.get(rollout.group_id, 0) + 1
        if members[rollout.group_id] <= MOST_MEMBERS:
            apart = np.abs(rollout.rollout_logprobs - own)[:MOST_TOKENS][rollout.completion_mask[:MOST_TOKENS]]
            largest = float(apart.max()) if apart.size else 0.0
            worst[rollout.group_id] = max(worst.get(rollout.group_id, -math.inf), largest)
    groups = [*list(worst)[:MOST_GROUPS], *sorted(worst, key=lambda group: -worst[group])[:_WORST_GROUPS]]
    return kept_rows(step, rollouts, advantages, texts, old, list(dict.fromkeys(groups)))
