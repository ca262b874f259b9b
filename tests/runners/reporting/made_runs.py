"""Folders of runs, made by hand: their numbers are known."""

import json
import math

import numpy as np

from runners.run_folder.folder import RunFolder
from runners.run_folder.kept_rollouts import kept_rows
from runners.sampling.rollout import Rollout

CONFIG = {
    "trainer": "grpo",
    "preset": "mine",
    "seed": 3,
    "environment": "E-v0",
    "env_options": {"dataset": "builtin:1-2"},
    "eval_env_options": {},
    "run": {"steps": 4},
    "agents": {"engine": "transformers", "policy_model": "tiny"},
    "training": {"lr": 1e-4, "num_prompts": 2, "group_size": 2},
    "resources": {},
    "fingerprints": {},
}
SECONDS = ("sample_s", "update_s", "sync_s")


def metrics(step, evaluated=True):
    """A row; every number of it differs from step to step."""
    row = {"step": step}
    if step:
        row |= {"reward_mean": 0.25 + step / 16, "loss": -0.5 / step, "entropy": 0.1 * step, "clip_frac": 0.01 * step}
        row |= {"completion_tokens_mean": 20.0 + step, "completion_tokens_max": 60.0 + step, "grad_norm": 1.0 + step}
        row |= {"rollout_logprob_diff_mean": 1e-7 * step, "rollout_logprob_diff_max": 1e-5 * step}
        row |= {"tokens_per_s": 900.0 + step}
        row |= {name: 0.5 * step + place for place, name in enumerate(SECONDS)}
    if evaluated:
        row |= {"eval_accuracy": 0.5 + step / 32, "eval_standard_error": 0.03125}
    return row


def rollout(
    group_id, tokens, *, reward, correct=None, cut=False, level=1, question="How many?", mask=None, logprobs=None
):
    size = len(tokens)
    mask = np.ones(size, np.bool_) if mask is None else np.array(mask)
    logprobs = np.full(size, -0.25, np.float32) if logprobs is None else np.array(logprobs, np.float32)
    return Rollout(
        prompt_token_ids=(1, 2),
        completion_token_ids=tuple(tokens),
        completion_mask=mask,
        rollout_logprobs=np.where(mask, logprobs, 0).astype(np.float32),
        policy_version=0,
        group_id=group_id,
        observation=question,
        text="".join(map(str, tokens)),
        reward=reward,
        correct=reward == 1.0 if correct is None and not math.isnan(reward) else correct,
        finish_reason="length" if cut else "stop",
        turn_lengths=(int(mask.sum()),),
        info={"ground_truth": "18", "num_steps": level},
    )


class Texts(dict):
    """A token's text is its number and a space."""

    def __missing__(self, token):
        return f"{token} "


# Group 0: one right, one wrong. Group 1: both wrong, one of them cut, of level 2. Group 2: both right.
ROLLOUTS = [
    rollout(0, [11, 12, 13], reward=1.0, logprobs=[-0.1, -4.0, -0.2]),
    rollout(0, [11, 14], reward=0.0),
    rollout(1, [15, 16, 17, 18], reward=0.0, cut=True, level=2),
    rollout(1, [15], reward=0.0, level=2),
    rollout(2, [19], reward=1.0, level=0, question="</script><script>document.title = 'taken over'</script>"),
    rollout(2, [19, 20], reward=1.0, level=0),
]
ADVANTAGES = [0.7071, -0.7071, 0.0, 0.0, 0.0, 0.0]
# Learner's log-probs: the second token of the first rollout is 0.5 nats apart.
OLD = [one.rollout_logprobs - (0.5 if place == 0 else 0.0) * np.eye(1, len(one.completion_token_ids), 1)[0]
       for place, one in enumerate(ROLLOUTS)]  # fmt: skip


def write_dump(path):
    """Of step 2, scored."""
    folder = path / "dumps" / "step_000002"
    folder.mkdir(parents=True)
    rows = kept_rows(2, ROLLOUTS, ADVANTAGES, Texts(), OLD)
    (folder / "scored.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_run(path, steps=4, kept=(2, 4), **changes):
    """Writes a run that was killed before its report."""
    folder = RunFolder(path)
    folder.write_config({**CONFIG, **changes})
    folder.add_session({"command": "python runners/grpo.py --name made", "commit": "abc", "versions": {}})
    for step in range(steps + 1):
        folder.log(metrics(step))
        folder.log_samples(
            [{"step": step, "prompt": "Q", "completion": "A", "reward": 1.0, "correct": True, "finish_reason": "stop"}]
        )
    for step in kept:
        folder.log_rollouts(kept_rows(step, ROLLOUTS, ADVANTAGES, Texts()))
    folder.close()
    return path
