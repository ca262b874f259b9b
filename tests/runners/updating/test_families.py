"""A policy of any family is trained on the very log-probs that it was sampled with, or is refused in a sentence."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

import agents
from agents.transformers_agent import TransformersAgent
from runners.objectives.advantages import estimate_advantages
from runners.objectives.objective import ObjectiveConfig
from runners.sampling.rollout import Rollout
from runners.settings import CriticSettings, PolicySettings, UpdateSettings
from runners.updating.batch import BatchPlan, build_train_batch
from runners.updating.model import make_optimizers, make_scorer
from runners.updating.scorer import Scorer
from runners.updating.scorer_check import ScorerCheck
from runners.updating.updater import Updater
from tests.runners.updating.families import WINDOW, save_model

CONTEXT, MAX_TOKENS = 96, 60
# The engine pads the shorter prompt, and drops the padding and some rows when completions have ended.
PROMPTS = [list(range(40, 49)), list(range(100, 124))]
ENDS = tuple(range(500, 510))
SHARED = ("Llama", "Qwen3", "OPT", "tied", "Qwen3 MoE", "Granite", "Cohere", "MiniCPM3")
ALONE = (
    *("Mistral", "Gemma 3", "GPT-Neo", "Gemma 2", "Bloom", "MPT", "Falcon with ALiBi", "multimodal"),
    *("Qwen3.5", "Qwen3-Next", "LFM2", "Jamba", "Falcon-H1", "GraniteMoeHybrid", "Mamba", "Mamba 2"),
)


UPDATE = UpdateSettings(lr=1e-3)
PLAN = BatchPlan(
    minibatch_size=None,
    num_epochs=1,
    aggregation="token-mean",
    max_tokens=MAX_TOKENS,
    mask_truncated=False,
    num_learners=1,
)


def engine(folder: Path) -> TransformersAgent:
    return TransformersAgent(str(folder), device="cpu", dtype="float32", max_model_len=CONTEXT)


def learner(folder: Path) -> Scorer:
    scorer = make_scorer(PolicySettings(policy_model=str(folder)), UPDATE, temperature=1.0, value_head=False)
    ScorerCheck([scorer], group_size=4).cover(CONTEXT)
    return scorer


def rollout(group_id: int, prompt: list[int], completion: agents.Completion) -> Rollout:
    return Rollout(
        prompt_token_ids=tuple(prompt),
        completion_token_ids=completion.token_ids,
        completion_mask=np.ones(len(completion.token_ids), dtype=np.bool_),
        turn_lengths=(len(completion.token_ids),),
        rollout_logprobs=np.array(completion.logprobs, dtype=np.float32),
        policy_version=completion.policy_version,
        group_id=group_id,
        observation="",
        text=completion.text,
        reward=0.0,
        correct=None,
        finish_reason=completion.finish_reason,
    )


@pytest.mark.parametrize("family", [*SHARED, *ALONE])
def test_two_steps_on_the_log_probs_of_the_engine(
    family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_model(family, tmp_path)
    with caplog.at_level(logging.WARNING, logger="runners"):
        scorer = learner(folder)
    assert (scorer.shared_tokens > 0) == (family in SHARED)
    assert [record.getMessage().split(":")[0] for record in caplog.records if record.name.startswith("runners")] == (
        [] if family in SHARED else [f"share_prompts does not suit {str(folder)!r} ({type(scorer.model).__name__})"]
    )
    agent = engine(folder)
    optimizers = [optimizer for optimizer, _ in make_optimizers(scorer, UPDATE, CriticSettings()).values()]
    updater = Updater(scorer, optimizers, UPDATE, ObjectiveConfig())
    for step in range(2):
        groups = agent.generate(
            PROMPTS, agents.SamplingParams(n=4, max_tokens=MAX_TOKENS, stop_token_ids=ENDS, seed=step)
        )
        lengths = sorted(len(completion.token_ids) for group in groups for completion in group)
        assert lengths[2] < MAX_TOKENS and lengths[-1] > 2 * WINDOW
        rollouts = [rollout(number, PROMPTS[number], c) for number, group in enumerate(groups) for c in group]
        advantages = estimate_advantages("grpo", np.array([0.0, 1.0, 1.0, 0.0] * 2), np.repeat([0, 1], 4))
        found = updater.update(build_train_batch(rollouts, advantages, PLAN, np.random.default_rng(0)))
        assert found["rollout_logprob_diff_max"] < 1e-5
        assert found["grad_norm"] > 0
        agent.update_weights(updater.exported_weights(), updater.policy_version)


def test_what_the_learner_cannot_score_is_refused(tmp_path: Path) -> None:
    folder = save_model("Llama 4", tmp_path)
    with pytest.raises(
        ValueError, match=r"\(Llama4ForCausalLM\) cannot be trained exactly: .*\. Train another model: --model"
    ):
        learner(folder)


def test_what_the_engine_cannot_sample_is_refused(tmp_path: Path) -> None:
    agent = engine(save_model("RecurrentGemma", tmp_path))
    with pytest.raises(
        ValueError, match=r"^The engine 'transformers' cannot sample .* \(recurrent_gemma\), .* another mo"
    ):
        agent.generate(PROMPTS, agents.SamplingParams(n=2, max_tokens=8))
