"""Episodes of several turns: tokens, masks, rewards and seeds by hand; then GRPO on the real environment."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import tests.runners.two_turn_env  # noqa: F401  (registers TwoTurn-v0)
from agents import SamplingParams
from runners.rllib.env_runner import TextEnvRunner
from runners.run_folder.metrics import metrics_row
from runners.sampling.problems import sequence_seed
from runners.sampling.rollout import GroupReset, SampleRequest
from runners.updating.batch import padded_columns
from tests.runners.rllib.conftest import agent_of, sampled_groups, small_config, updater_of

TWO_TURNS = "tests.runners.two_turn_env:TwoTurn-v0"
MULTI_TURN = "gsm8k_env:GSM8KMultiTurn-v0"


def word_or_skip(prompt, sample):
    """Sample 1 skips; the others say one word in the first turn and another in the second."""
    if "Another" in prompt:
        return "second"
    return "skip" if sample == 1 else "first"


def scripted_runner(script=word_or_skip, env_config=None, **engine_options):
    config = small_config(TWO_TURNS, env_config or {})
    return TextEnvRunner(config=config.agents(engine="scripted", engine_options={"script": script} | engine_options))


def request(num_groups=1, *, max_tokens=24, seed=5, n=3, **changes):
    return SampleRequest(
        resets=[GroupReset(group_id=i, seed=i) for i in range(num_groups)],
        sampling=SamplingParams(n=n, max_tokens=max_tokens),
        seed=seed,
        max_prompt_tokens=100,
        **changes,
    )


def own_text(agent, rollout):
    ids = np.array(rollout.completion_token_ids)
    return [agent.tokenizer.decode(ids[rollout.completion_mask]), agent.tokenizer.decode(ids[~rollout.completion_mask])]


def test_tokens_masks_and_rewards_by_hand():
    runner = scripted_runner()
    first, skipped, third = runner.sample(request()).rollouts
    agent = runner.agent
    texts = "first<|end|>", "<|user|>Another.<|end|><|assistant|>", "second<|end|>"
    own, users, own_again = (agent.tokenizer(text)["input_ids"] for text in texts)
    assert first.completion_token_ids == (*own, *users, *own_again)
    assert first.completion_mask.tolist() == [True] * len(own) + [False] * len(users) + [True] * len(own_again)
    assert first.prompt_token_ids == skipped.prompt_token_ids == tuple(agent.encode(first.observation))
    assert first.text == "first\n\n[user]\nAnother.\n\n[assistant]\nsecond"
    assert (first.reward, first.num_turns, first.finish_reason) == (1.25, 2, "stop")
    assert own_text(agent, skipped) == ["skip<|end|>", ""]
    assert (skipped.reward, skipped.num_turns, skipped.text) == (0.125, 1, "skip")
    assert third.completion_token_ids == first.completion_token_ids


def test_one_call_of_the_engine_a_turn_with_seeds_of_its_own(monkeypatch):
    runner, calls = scripted_runner(), []
    generate = runner.agent.generate

    def recorded(prompts, params):
        calls.append((len(prompts), params.n, params.seed))
        return generate(prompts, params)

    monkeypatch.setattr(runner.agent, "generate", recorded)
    rollouts = runner.sample(request(num_groups=4)).rollouts
    # Four groups of three; two of each go on.
    first = tuple(sequence_seed(5, "train", group, 0) for group in range(4))
    second = tuple(sequence_seed(5, "train", group, 1) + member for group in range(4) for member in (0, 2))
    assert calls == [(4, 3, first), (8, 1, second)]
    assert [r.group_id for r in rollouts] == [i // 3 for i in range(12)]
    assert [r.num_turns for r in rollouts] == [2, 1, 2] * 4


def test_a_completion_cut_by_max_tokens_gets_its_end_off_the_mask():
    runner = scripted_runner(lambda prompt, sample: "word " * 20)
    rollout = runner.sample(request(n=1, max_tokens=4)).rollouts[0]
    agent = runner.agent
    assert rollout.num_own_tokens == 8
    assert rollout.completion_mask.tolist()[:4] == rollout.completion_mask.tolist()[-4:] == [True] * 4
    assert own_text(agent, rollout)[1] == "<|end|><|user|>Another.<|end|><|assistant|>"
    assert (rollout.finish_reason, rollout.reward) == ("length", 1.25)


def test_an_endless_episode_ends_at_the_contexts_limit():
    runner = scripted_runner(env_config={"endless": True}, max_model_len=64)
    rollout = runner.sample(request(n=1)).rollouts[0]
    assert len(rollout.prompt_token_ids) + len(rollout.completion_token_ids) <= 64
    assert rollout.finish_reason == "length"
    assert rollout.num_turns > 2
    assert rollout.reward == 0.25 + 0.5 * (rollout.num_turns - 1)
    assert rollout.completion_mask[-1], "no message without an answer"


def test_max_episode_tokens_begins_no_further_turn():
    runner = scripted_runner(env_config={"endless": True})
    unlimited = runner.sample(request(n=1)).rollouts[0]
    mask, prompt = unlimited.completion_mask, len(unlimited.prompt_token_ids)
    second_turn = prompt + next(i for i in range(1, len(mask)) if mask[i] and not mask[i - 1])
    for limit, turns in ((second_turn, 1), (second_turn + 1, 2)):
        rollout = runner.sample(request(n=1, max_episode_tokens=limit)).rollouts[0]
        assert (rollout.num_turns, rollout.finish_reason) == (turns, "length")


def real_algo(build, **training):
    config = small_config(MULTI_TURN, num_prompts=8, max_tokens=32, **training)
    return build(config)


def difference(algo, rollouts):
    columns = padded_columns(rollouts)
    apart = np.abs(updater_of(algo).logprobs(columns) - columns["rollout_logprobs"])[columns["loss_mask"]]
    return apart.mean(), apart.max()


@pytest.mark.parametrize("share_prompts", [True, False])
def test_engine_and_learner_agree_on_every_turn(build, share_prompts):
    algo = real_algo(build, share_prompts=share_prompts)
    rollouts = sampled_groups(algo)
    several = [r for r in rollouts if r.num_turns > 1]
    assert several and any(r.num_turns == 3 for r in several)
    mean, largest = difference(algo, rollouts)
    assert 0 < mean < 1e-5
    assert largest < 1e-3
    # Counted as the policy's own, the user's messages stand out: no model is certain of each of their tokens.
    wrong = [replace(r, completion_mask=np.ones_like(r.completion_mask)) for r in several]
    assert difference(algo, wrong)[0] > 0.1


def test_the_dialogue_is_what_the_environment_said(build):
    algo = real_algo(build)
    agent = agent_of(algo)
    rollouts = sampled_groups(algo)
    for rollout in rollouts:
        ids, mask = np.array(rollout.completion_token_ids), rollout.completion_mask
        opened = np.flatnonzero(mask & ~np.r_[False, mask[:-1]])
        assert len(opened) == rollout.num_turns
        assert not rollout.rollout_logprobs[~mask].any()
        feedback = agent.tokenizer.decode(ids[~mask])
        assert feedback.count("Try again.<|end|><|assistant|>") == rollout.num_turns - 1
        assert "Try again" not in agent.tokenizer.decode(ids[mask])
        assert rollout.reward == float(rollout.correct)
        assert rollout.correct or rollout.num_turns == 3


@pytest.mark.slow
def test_grpo_trains_and_evaluates_on_the_real_environment(build):
    algo = real_algo(build, minibatch_size=16, kl_coeff=1e-3)
    rows = [metrics_row(algo.train(), step) for step in (1, 2)]
    for row in rows:
        assert 1 < row["turns_mean"] <= 3
        assert row["rollout_logprob_diff_mean"] < 1e-5
        assert all(math.isfinite(value) for value in row.values()), row
    assert rows[1]["policy_version"] == 2
    evaluation = algo.evaluate()
    assert evaluation["greedy"]["num_problems"] == 8
    assert 1 <= evaluation["greedy"]["turns_mean"] <= 3
    assert {rollout.num_turns for rollout in algo.evaluation_rollouts} - {1}


def test_the_same_request_gives_the_same_episodes(build):
    algo = real_algo(build)
    runner = algo.env_runner_group.local_env_runner
    first, second = (runner.sample(replace(request(3, n=4), max_prompt_tokens=500)).rollouts for _ in range(2))
    assert [r.completion_token_ids for r in first] == [r.completion_token_ids for r in second]
    assert any(r.num_turns > 1 for r in first)


def sampled_tokens(rollouts):
    return [(r.group_id, r.num_turns, r.completion_token_ids) for r in rollouts]


@pytest.mark.parametrize("env", ["train", "eval"])
def test_a_groups_episodes_do_not_depend_on_the_others_of_the_request(build, env):
    runner = real_algo(build).env_runner_group.local_env_runner
    whole = replace(request(4, n=4, env=env), max_prompt_tokens=500)
    together = sampled_tokens(runner.sample(whole).rollouts)
    assert any(num_turns > 1 for _, num_turns, _ in together)
    alone = [runner.sample(replace(whole, resets=[reset])).rollouts for reset in whole.resets]
    assert [episode for rollouts in alone for episode in sampled_tokens(rollouts)] == together
    turned = runner.sample(replace(whole, resets=whole.resets[::-1])).rollouts
    assert sorted(sampled_tokens(turned)) == sorted(together)


def test_the_runs_seed_the_environment_and_the_group_decide_the_seeds(build):
    algo = build(small_config(MULTI_TURN, max_tokens=8).debugging(seed=7))
    agent = agent_of(algo)
    seeds, generate = [], agent.generate
    agent.generate = lambda prompts, params: seeds.append(params.seed) or generate(prompts, params)
    for sample, env, count in ((partial(sampled_groups, algo), "train", 4), (algo.evaluate, "eval", 8)):
        seeds.clear()
        sample()
        assert seeds[0] == tuple(sequence_seed(7, env, group, 0) for group in range(count))


@pytest.mark.slow
def test_the_number_of_env_runners_changes_no_token(build):
    none, two = (
        build(small_config(MULTI_TURN, num_prompts=5, max_tokens=24).env_runners(num_env_runners=number))
        for number in (0, 2)
    )
    for _ in range(2):
        rollouts = sampled_groups(none)
        assert any(r.num_turns > 1 for r in rollouts)
        assert sampled_tokens(sampled_groups(two)) == sampled_tokens(rollouts)
    none.evaluate(), two.evaluate()
    assert sampled_tokens(two.evaluation_rollouts) == sampled_tokens(none.evaluation_rollouts)
