import gymnasium as gym
import numpy as np
import pytest

import tests.runners.addition_env  # noqa: F401  (registers Addition-v0)
from agents.models import resolve_model
from agents.text import end_token_ids, load_tokenizer
from gsm8k_env.grading import GRADING_MODES
from runners.sampling.demonstrations import Demonstrations
from runners.sampling.environments import Environments
from runners.sampling.problems import evaluation_resets
from runners.support.errors import UserError

TINY = resolve_model("tiny")


def demonstrations(env="gsm8k_env:GSM8K-v0", options=None, **limits):
    options = {"dataset": "builtin:1-2"} if options is None else options
    tokenizer = load_tokenizer(TINY)
    environments = Environments(env, {"train": options, "eval": options})
    limits = {"max_prompt_tokens": 512, "max_tokens": 512} | limits
    return Demonstrations(environments, tokenizer, end_token_ids(TINY, tokenizer), **limits)


@pytest.mark.parametrize("grading", GRADING_MODES)
@pytest.mark.parametrize("instruction", ["hash", "boxed", "none"])
@pytest.mark.parametrize("env", ["GSM8K-v0", "GSM8KMultiTurn-v0"])
def test_a_solution_earns_the_reward_of_its_environment(env, instruction, grading):
    options = {"dataset": "builtin:1-3", "instruction": instruction, "grading": grading}
    played = gym.make(f"gsm8k_env:{env}", **options)
    for rollout, reset in zip(
        demonstrations(f"gsm8k_env:{env}", options).take(evaluation_resets(100, 5)).rollouts,
        evaluation_resets(100, 5),
        strict=True,
    ):
        observation, _ = played.reset(seed=reset.seed, options=reset.options)
        assert rollout.observation == observation
        assert played.step(rollout.text)[1] == 1.0
        boxed = grading == "boxed" or (grading, instruction) == ("flexible", "boxed")
        assert (r"\boxed{" in rollout.text, "####" in rollout.text) == (boxed, not boxed)


def test_tokens_are_those_of_prompt_and_solution_with_the_end_token():
    tokenizer = load_tokenizer(TINY)
    (rollout,) = demonstrations().take(evaluation_resets(100, 1)).rollouts
    assert tokenizer.decode(rollout.prompt_token_ids) == f"<|user|>{rollout.observation}<|end|><|assistant|>"
    assert tokenizer.decode(rollout.completion_token_ids) == f"{rollout.text}<|end|>"
    assert rollout.completion_mask.all() and not rollout.rollout_logprobs.any()
    assert rollout.rollout_logprobs.dtype == np.float32


def test_problems_with_a_long_prompt_or_solution_are_left_out():
    resets = evaluation_resets(100, 20)
    lengths = [(len(r.prompt_token_ids), len(r.completion_token_ids)) for r in demonstrations().take(resets).rollouts]
    prompt, solution = (sorted(column)[10] for column in zip(*lengths, strict=True))
    for limits, kept in (
        ({"max_prompt_tokens": prompt}, sum(p <= prompt for p, _ in lengths)),
        ({"max_tokens": solution}, sum(s <= solution for _, s in lengths)),
    ):
        result = demonstrations(**limits).take(resets)
        assert 0 < kept < 20
        assert (len(result.rollouts), result.num_dropped_prompts) == (kept, 20 - kept)


def test_an_environment_without_solutions_is_refused_by_name():
    with pytest.raises(UserError, match="'Addition-v0' has no attribute `solution`"):
        demonstrations("tests.runners.addition_env:Addition-v0", {}).take(evaluation_resets(None, 1))
