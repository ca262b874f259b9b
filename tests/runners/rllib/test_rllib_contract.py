"""What RLlib's users expect of an algorithm: schedules, callbacks, settings that count or are refused, results."""

import itertools
import math
import re
from collections import Counter

import numpy as np
import pytest
from ray import tune
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

import tests.runners.two_turn_env  # noqa: F401  (registers TwoTurn-v0)
from agents import SamplingParams
from runners.rllib.env_runner import TextEnvRunner
from runners.rllib.grpo import GRPO, GRPOConfig
from runners.rllib.rl_module import TextPolicyModule
from runners.run_options import build_config, parse_args, run_settings
from runners.sampling.rollout import GroupReset, SampleRequest
from runners.sampling.sampler import Sampler
from tests.runners.rllib.conftest import agent_of, small_config, updater_of

TWO_TURNS = "tests.runners.two_turn_env:TwoTurn-v0"
EPISODES = 16  # of one turn each, in a step of `small_config`


def weights_of(algo):
    (weights,) = algo.get_weights().values()
    return weights


def same(first, second):
    return all(np.array_equal(first[name], second[name]) for name in first)


def learner_results(algo):
    return algo.train()["learners"]["default_policy"]


class TestSchedules:
    def test_an_update_takes_the_lr_of_the_steps_sampled_before_it(self, build):
        # Warm-up to the second update, which is half as large as the third would be, and nothing from there on.
        schedule = [[0, 0.0], [EPISODES, 1e-4], [2 * EPISODES, 0.0]]
        algo = build(small_config(lr=schedule))
        states = [weights_of(algo)]
        rates = []
        for _ in range(3):
            rates.append(updater_of(algo)._optimizers[0].param_groups[0]["lr"])
            algo.train()
            states.append(weights_of(algo))
        assert rates == [0.0, 1e-4, 0.0] and {type(rate) for rate in rates} == {float}
        moved = [not same(before, after) for before, after in itertools.pairwise(states)]
        assert moved == [False, True, False]

    def test_lr_and_entropy_coeff_move_and_resume_exactly(self, build, tmp_path):
        end = 4 * EPISODES
        config = small_config(lr=[[0, 1e-4], [end, 0.0]], entropy_coeff=[[0, 0.5], [end, 0.1]])
        straight = build(config.copy())
        rows = [learner_results(straight) for _ in range(3)]
        np.testing.assert_allclose([row["default_optimizer_learning_rate"] for row in rows], [7.5e-5, 5e-5, 2.5e-5])
        np.testing.assert_allclose([row["curr_entropy_coeff"] for row in rows], [0.4, 0.3, 0.2])
        first = build(config.copy())
        learner_results(first)
        first.save_to_path(tmp_path / "checkpoint")
        second = GRPO.from_checkpoint(tmp_path / "checkpoint")
        assert updater_of(second).entropy_coeff == 0.4
        assert [learner_results(second) for _ in range(2)] == rows[1:]
        assert same(weights_of(second), weights_of(straight))
        second.stop()

    def test_the_entropy_bonus_is_the_schedules(self, build):
        # The first update has the schedule's first value, the second its last.
        def losses(entropy_coeff):
            algo = build(small_config(lr=0.0, entropy_coeff=entropy_coeff))
            return [learner_results(algo)["loss"] for _ in range(2)]

        high, low, moving = losses(0.5), losses(0.0), losses([[0, 0.5], [EPISODES, 0.0]])
        assert high[0] != low[0] and high[1] != low[1]
        assert moving == [high[0], low[1]]

    def test_the_command_line_takes_them(self):
        settings = run_settings(parse_args(["--set", "lr=[[0, 1e-4], [1000, 0]]", "--set", "entropy_coeff=0.1"]))
        config = build_config(settings)
        config.check()
        assert config.lr == [[0, 1e-4], [1000, 0]]

    @pytest.mark.parametrize("name", ["lr", "entropy_coeff"])
    @pytest.mark.parametrize(
        "schedule",
        [
            [],
            [[0, 1e-4]],
            [[5, 1e-4], [10, 0.0]],
            [[0, 1e-4], [10]],
            [[0, 1e-4], [10, -0.5]],
            [[0, 1e-4], [10, 0.0], [10, 1.0]],
            [[0, "fast"], [10, 0.0]],
            [0, 1e-4],
            "linear",
        ],
        ids=str,
    )
    def test_a_malformed_one_is_refused(self, name, schedule):
        with pytest.raises(ValueError, match=rf"^{name}=.*must be a number >= 0, or a schedule \[\[0, value\]"):
            small_config(**{name: schedule}).validate()


CALLS: list[tuple[str, SingleAgentEpisode | None]] = []


class Recorder(RLlibCallback):
    """Notes every call; logs metrics where RLlib's users do."""

    def on_environment_created(self, *, env_runner, metrics_logger, env, env_context, **kwargs):
        CALLS.append(("environment_created", None))
        assert env.unwrapped is env and env_context.worker_index == 0

    def on_episode_created(self, *, episode, env_runner, metrics_logger, env, env_index, **kwargs):
        CALLS.append(("created", episode))
        assert not episode.is_reset

    def on_episode_start(self, *, episode, env, **kwargs):
        CALLS.append(("start", episode))
        assert episode.get_observations(-1) == f"Say {episode.get_observations(0)[4]}."

    def on_episode_step(self, *, episode, env, **kwargs):
        CALLS.append(("step", episode))
        assert env.turn == len(episode)

    def on_episode_end(self, *, episode, metrics_logger, prev_episode_chunks, **kwargs):
        CALLS.append(("end", episode))
        metrics_logger.log_value("longest", len(episode), reduce="max")

    def on_sample_end(self, *, env_runner, metrics_logger, samples, **kwargs):
        CALLS.append(("sample_end", None))
        assert [episode.is_done for episode in samples] == [True] * len(samples)
        metrics_logger.log_value("samples", len(samples), reduce="sum")

    def on_evaluate_start(self, *, algorithm, metrics_logger, **kwargs):
        CALLS.append(("evaluate_start", None))

    def on_evaluate_end(self, *, algorithm, metrics_logger, evaluation_metrics, **kwargs):
        CALLS.append(("evaluate_end", None))
        evaluation_metrics["mine"] = evaluation_metrics["env_runners"]["num_episodes"]


def skip_or_talk(prompt, sample):
    """Sample 1 skips, after one turn, for 0.125; the others have two turns and 1.25."""
    return "skip" if sample == 1 and "Another" not in prompt else "word"


def two_turn_config(env_config=None, **training):
    config = small_config(TWO_TURNS, env_config or {}, num_prompts=2, **training)
    return config.agents(engine="scripted", engine_options={"script": skip_or_talk}, sync_check_bound=None)


@pytest.fixture(scope="module")
def observed():
    """A step and an evaluation with callbacks of every kind: what each called, and its results."""
    functions = []
    algo = (
        two_turn_config()
        .callbacks(Recorder, on_evaluate_end=lambda **kwargs: functions.append(sorted(kwargs)))
        .evaluation(evaluation_duration=3)
    ).build_algo()
    result = algo.train()
    trained = list(CALLS)
    del CALLS[:]
    evaluation = algo.evaluate()
    evaluated = list(CALLS)
    algo.stop()
    return {"trained": trained, "result": result, "evaluated": evaluated, "evaluation": evaluation, "fns": functions}


class TestCallbacks:
    def test_every_episode_of_a_step_in_order(self, observed):
        # Two groups of four: six episodes of two turns, two of one.
        calls = Counter(name for name, _ in observed["trained"])
        assert calls == {
            "environment_created": 9,  # one more tells of evaluation's problems
            "created": 8,
            "start": 8,
            "step": 14,
            "end": 8,
            "sample_end": 1,
        }
        by_episode: dict[str, list[str]] = {}
        for name, episode in observed["trained"]:
            if episode is not None:
                by_episode.setdefault(episode.id_, []).append(name)
        turns = ["created", "start", "step", "end"], ["created", "start", "step", "step", "end"]
        assert sorted(by_episode.values(), key=len) == [turns[0]] * 2 + [turns[1]] * 6

    def test_an_episode_holds_texts_rewards_and_its_return(self, observed):
        episodes = [episode for name, episode in observed["trained"] if name == "end"]
        long = next(episode for episode in episodes if len(episode) == 2)
        assert long.get_observations()[1:] == ["Another.", ""] and long.get_actions() == ["word", "word"]
        assert long.get_rewards() == [0.25, 1.0] and long.get_return() == 1.25
        assert long.is_terminated and not long.is_truncated

    def test_what_they_log_stands_in_the_results(self, observed):
        assert observed["result"]["env_runners"]["longest"] == 2
        assert observed["result"]["env_runners"]["samples"] == 8
        # Greedy and sampled, three problems each: member 0 of its group, which talks.
        assert observed["evaluation"]["env_runners"]["samples"] == 6

    def test_those_of_evaluation(self, observed):
        names = [name for name, _ in observed["evaluated"]]
        assert (names[0], names[-1], Counter(names)["sample_end"]) == ("evaluate_start", "evaluate_end", 2)
        assert observed["evaluation"]["mine"] == 3
        assert observed["fns"] == [["algorithm", "evaluation_metrics", "metrics_logger"]]

    def test_an_episode_that_the_limit_on_tokens_cuts_ends_truncated(self):
        ended = []
        config = two_turn_config({"endless": True}).callbacks(on_sample_end=lambda samples, **_: ended.extend(samples))
        runner = TextEnvRunner(config=config)
        request = SampleRequest(
            resets=[GroupReset(group_id=0, seed=0)],
            sampling=SamplingParams(n=1, max_tokens=24),
            seed=0,
            max_episode_tokens=60,
        )
        (rollout,) = runner.sample(request).rollouts
        (episode,) = ended
        assert episode.is_truncated and len(episode) == rollout.num_turns > 2
        # A prompt that is too long is no episode.
        assert runner.sample(
            SampleRequest(resets=request.resets, sampling=request.sampling, seed=0, max_prompt_tokens=1)
        )
        assert len(ended) == 1

    def test_nothing_is_kept_where_none_is_given(self):
        runner = TextEnvRunner(config=two_turn_config())
        assert type(runner.sampler) is Sampler
        env = runner.environments.first("train")
        assert "Observed" not in str(env)

    @pytest.mark.slow
    def test_they_are_called_where_the_env_runner_is(self, build):
        config = small_config().callbacks(
            on_episode_end=lambda episode, metrics_logger, env_runner, **_: metrics_logger.log_value(
                "by", env_runner.worker_index, reduce="min"
            )
        )
        algo = build(config.env_runners(num_env_runners=1))
        assert algo.train()["env_runners"]["by"] == 1
        assert algo.evaluate()["env_runners"]["by"] == 1


class TestSettings:
    @pytest.mark.parametrize(
        ("method", "settings", "message"),
        [
            ("training", {"train_batch_size": 4000}, "train_batch_size=4000, .* default, 32: .*num_prompts"),
            ("training", {"train_batch_size_per_learner": 8}, "train_batch_size_per_learner=8, .*num_prompts"),
            ("training", {"gamma": 0.9}, 'gamma=0.9, .* default, 1.0, .*advantage="gae"'),
            ("training", {"lambda_": 0.9}, 'lambda_=0.9, .* default, 1.0, .*advantage="gae"'),
            ("training", {"learner_class": SingleAgentEnvRunner}, "learner_class=.*subclass of GRPOLearner"),
            ("training", {"model": {"fcnet_hiddens": [8]}}, r"model=\{.*policy_model"),
            ("rl_module", {"model_config": {"fcnet_hiddens": [8]}}, r"model_config=\{.*policy_model"),
            (
                "rl_module",
                {"rl_module_spec": RLModuleSpec(module_class=TextPolicyModule)},
                "rl_module_spec=.*made from",
            ),
            (
                "evaluation",
                {"evaluation_num_env_runners": 1},
                "evaluation_num_env_runners=1, .*num_env_runners of them",
            ),
            (
                "evaluation",
                {"evaluation_parallel_to_training": True},
                "evaluation_parallel_to_training=True, .*between",
            ),
            ("evaluation", {"custom_evaluation_function": print}, "custom_evaluation_function=.*on_evaluate_end"),
            ("evaluation", {"evaluation_duration": "auto"}, "evaluation_duration='auto', .*int >= 1"),
            (
                "evaluation",
                {"evaluation_duration_unit": "timesteps"},
                "evaluation_duration_unit='timesteps', .*problems",
            ),
            ("evaluation", {"evaluation_config": {"lr": 1.0}}, "evaluation_config: lr=1.0, .*temperature"),
            ("evaluation", {"evaluation_config": {"max_tokens": 0}}, "evaluation_config: max_tokens=0, .*int >= 1"),
            ("env_runners", {"num_envs_per_env_runner": 4}, "num_envs_per_env_runner=4, .* default, 1: .*at once"),
            ("env_runners", {"rollout_fragment_length": 5}, "rollout_fragment_length=5, .*whole episodes"),
            ("env_runners", {"explore": False}, "explore=False, .*temperature"),
            ("env_runners", {"create_local_env_runner": False}, "create_local_env_runner=False, .*environments"),
            ("env_runners", {"env_runner_cls": SingleAgentEnvRunner}, "env_runner_cls=.*subclass of TextEnvRunner"),
            ("env_runners", {"compress_observations": True}, "compress_observations=True, .*nothing here reads it"),
            ("environment", {"clip_rewards": True}, "clip_rewards=True, .*nothing here reads it"),
            (
                "multi_agent",
                {"policies": {"a"}, "policy_mapping_fn": lambda *_, **__: "a"},
                "there is one policy",
            ),
            ("multi_agent", {"policies": {"a"}}, "there is one policy"),
            ("framework", {"framework": "tf2"}, "framework_str='tf2', .*torch"),
            ("api_stack", {"enable_rl_module_and_learner": False}, "new API stack alone"),
        ],
        ids=lambda value: re.sub(r"<function .* at \w+>", "function", str(value)),
    )
    def test_what_means_nothing_here_is_refused_by_name(self, method, settings, message):
        with pytest.raises(ValueError, match=message):
            getattr(small_config(), method)(**settings).build_algo()

    def test_what_is_left_at_its_default_passes_and_so_does_a_copy_from_its_state(self):
        config = small_config().env_runners(rollout_fragment_length=200, explore=True).training(train_batch_size=32)
        config.validate()
        GRPOConfig.from_state(config.get_state()).validate()

    def test_a_dict_as_tune_gives_it_takes_known_names_alone(self):
        given = small_config().to_dict() | {"algorithm": "dapo", "lr": 1e-5, "__stdout_file__": None}
        assert GRPOConfig().update_from_dict(given).lr == 1e-5
        with pytest.raises(ValueError, match=r"no setting 'num_prompt'\. Did you mean 'num_prompts'"):
            GRPOConfig().update_from_dict({"num_prompt": 3})
        with pytest.raises(ValueError, match="no setting 'training'"):
            GRPOConfig().update_from_dict({"training": {"lr": 1e-5}})

    def test_an_algorithm_in_a_dict_sets_what_its_paper_decides_on(self):
        config = GRPOConfig().update_from_dict({"algorithm": "dapo", "clip_param": 0.1})
        expected = GRPOConfig().training(algorithm="dapo", clip_param=0.1)
        assert config.to_dict() == expected.to_dict() and config.dynamic_sampling

    def test_an_environment_of_tune_is_refused_with_what_to_do(self, build):
        tune.register_env("mine", lambda context: None)
        with pytest.raises(ValueError, match=r"--env 'mine'.*with Gymnasium.*register_env is not asked"):
            build(small_config("mine", {}))

    def test_evaluation_samples_as_evaluation_config_says(self, build, monkeypatch):
        changes = {"temperature": 0.25, "max_tokens": 5, "max_prompt_tokens": 60}
        algo = build(small_config(overlong_buffer=8).evaluation(evaluation_config=changes))
        agent, asked = agent_of(algo), []
        generate = agent.generate

        def recorded(prompts, params):
            asked.append((params.temperature, params.max_tokens))
            return generate(prompts, params)

        monkeypatch.setattr(agent, "generate", recorded)
        evaluation = algo.evaluate()
        assert asked == [(0.0, 5), (0.25, 5)]
        assert evaluation["greedy"]["completion_tokens_max"] == 5
        assert 0 < evaluation["greedy"]["num_problems"] < 8  # the others' prompts are longer
        del asked[:]
        algo.train()
        assert asked[0] == (1.0, 24)


class TestWeights:
    def test_the_module_and_its_weights_can_be_asked_for_and_set(self, build):
        algo = build(small_config())
        before = algo.get_weights()
        assert list(before) == ["default_policy"] and list(algo.get_weights(["other"])) == []
        module = algo.get_module()
        assert isinstance(module, TextPolicyModule) and algo.get_module("other") is None
        assert same(before["default_policy"], module.get_state())
        algo.train()
        assert not same(before["default_policy"], weights_of(algo))
        algo.set_weights(before)
        assert same(before["default_policy"], weights_of(algo))
        for name, parameter in agent_of(algo).model.named_parameters():
            assert np.array_equal(parameter.detach(), before["default_policy"][name])

    @pytest.mark.slow
    @pytest.mark.parametrize("fully_shard", [False, True])
    def test_of_remote_learners(self, build, fully_shard):
        local = weights_of(build(small_config()))
        algo = build(small_config(fully_shard=fully_shard, lr=[[0, 1e-4], [2 * EPISODES, 0]]).learners(num_learners=2))
        assert same(local, weights_of(algo))
        with pytest.raises(RuntimeError, match=r"get_module: with num_learners=2 .*get_weights\(\)"):
            algo.get_module()
        assert learner_results(algo)["default_optimizer_learning_rate"] == 5e-5


def test_the_results_have_the_names_that_reporters_and_stoppers_use(observed):
    # Two turns in six episodes, one in two.
    expected = {
        "episode_return_mean": (6 * 1.25 + 2 * 0.125) / 8,
        "episode_return_min": 0.125,
        "episode_return_max": 1.25,
        "episode_len_mean": 14 / 8,
        "episode_len_min": 1,
        "episode_len_max": 2,
        "num_episodes": 8,
        "num_episodes_lifetime": 8,
        "num_env_steps_sampled": 14,
        "num_env_steps_sampled_lifetime": 14,
    }
    results = observed["result"]["env_runners"]
    assert {name: results[name] for name in expected} == expected
    evaluation = observed["evaluation"]["env_runners"]
    assert (evaluation["num_episodes"], evaluation["episode_len_mean"], evaluation["episode_return_min"]) == (
        3,
        2,
        1.25,
    )


def test_missing_rewards_are_left_out_of_the_returns(build):
    config = small_config("tests.runners.addition_env:Addition-v0", {"reward": "missing"}, max_tokens=8)
    results = build(config).train()["env_runners"]
    assert math.isnan(results["episode_return_max"]) and results["num_episodes"] == EPISODES
