"""GRPO as an RLlib algorithm: the configuration and the training step.

    config = GRPOConfig().environment("gsm8k_env:GSM8K-v0", env_config={"dataset": "builtin:1-2"})
    algo = config.build_algo()
    algo.train()

Group Relative Policy Optimization: Shao et al., DeepSeekMath, https://arxiv.org/abs/2402.03300.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from operator import attrgetter, methodcaller
from pathlib import Path
from typing import Any

import numpy as np
from ray.exceptions import RayError
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import COMPONENT_LEARNER_GROUP, DEFAULT_MODULE_ID
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils import force_list
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, LEARNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.tune import register_trainable

from agents import SamplingParams
from agents.models import resolve_model
from runners.objectives.advantages import GroupAdvantages, estimate_advantages
from runners.objectives.reward_shaping import overlong_punishment
from runners.rllib.checkpoint import absolute, check_learner_state
from runners.rllib.config import GRPOSettings
from runners.rllib.private import OneSetOfEngines
from runners.rllib.workers import EnvRunners, Learners
from runners.sampling.problems import ProblemSampler, evaluation_resets
from runners.sampling.refills import StepGroups, StepSample
from runners.sampling.rollout import EnvName, GroupReset, Rollout, SampleRequest, SampleResult
from runners.sampling.summaries import evaluation_summary, group_summary, step_summary
from runners.settings import AdvantageSettings, EngineSettings, PolicySettings
from runners.updating.batch import build_train_batch, padded_columns
from runners.updating.policy_folder import write_policy
from runners.weights.check import check_delivery
from runners.weights.link import WeightLink

_PROBE_TOKENS = 8


class GRPOConfig(GRPOSettings):
    """Configuration of `GRPO`; every setting is documented in docs/settings.md."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or GRPO)


class GRPO(OneSetOfEngines, Algorithm):
    """Each iteration: draw problems, sample groups, compute advantages, update the policy, deliver the weights."""

    config: GRPOSettings

    @classmethod
    def get_default_config(cls) -> GRPOConfig:
        """Returns the default configuration."""
        return GRPOConfig()

    def setup(self, config: GRPOSettings) -> None:
        """Pins what may differ between machines, builds env runners and learners, and delivers the first weights."""
        self.num_env_runner_restarts = 0
        # Resolved once here: a wrong name fails before any worker starts, and a hub model is fetched once.
        resolve_model(self.config.policy_model)
        self.config = self.config.with_resolved_env_options()
        super().setup(config)
        environments = self.env_runner_group.local_env_runner.environments
        self.problems = ProblemSampler(environments.num_problems("train"), self.config.seed or 0)
        self._num_eval_problems = environments.num_problems("eval")
        self.evaluation_rollouts: list[Rollout] = []
        together, sync_timeout_s = self.config.fully_shard, self.config.sync_timeout_s
        self.learners = Learners(self.learner_group, "", together=together)
        self.updaters = Learners(self.learner_group, "updater", together=together)
        self.samplers = EnvRunners(self.env_runner_group, "sampler", timeout_s=self.config.sample_timeout_s)
        self.link = WeightLink(
            self.config.noun(EngineSettings),
            Learners(self.learner_group, "sender", together=together),
            EnvRunners(self.env_runner_group, "receiver", timeout_s=sync_timeout_s),
            self._restart_failed_engines,
        )
        self._deliver_weights()

    def training_step(self) -> None:
        """One step of GRPO, on new problems."""
        started = time.perf_counter()
        groups = StepGroups(self.config.num_prompts, self.config.max_refills if self.config.dynamic_sampling else 0)
        while groups.wanted:
            problems = self.problems.draw(groups.wanted)
            groups.add(self._sample(problems, self.config.sampling_params(), "train"))
            self._check_dropped(groups.num_dropped_prompts)
        sample = groups.sample()
        sampled = time.perf_counter()

        self.link.sleep()
        advantages = self._advantages(sample.rollouts)
        rng = np.random.default_rng([self.config.seed or 0, self.iteration, 1])
        self._update(build_train_batch(sample.rollouts, advantages, self.config.batch_plan(), rng))
        updated = time.perf_counter()

        self._deliver_weights()
        self._log_step(sample, advantages, (started, sampled, updated, time.perf_counter()))

    def evaluate(self, parallel_train_future: Any = None) -> dict[str, Any]:
        """Evaluates on the held-out problems: greedy, and sampled at the training temperature.

        The same problems every time, one episode each, on the training env runners and their engines.

        Returns:
            {"greedy": `evaluation_summary`, "sampled": the same, "env_runners": {"episode_return_mean": greedy's}}.
        """
        problems = evaluation_resets(self._num_eval_problems, self.config.evaluation_duration)
        greedy = self._sample(problems, self.config.sampling_params(n=1, temperature=0.0), "eval").rollouts
        sampled = self._sample(problems, self.config.sampling_params(n=1), "eval").rollouts
        if not greedy:
            raise _all_dropped(self.config.max_prompt_tokens)
        self.evaluation_rollouts = greedy
        results = {"greedy": evaluation_summary(greedy), "sampled": evaluation_summary(sampled)}
        return {**results, ENV_RUNNER_RESULTS: {"episode_return_mean": results["greedy"]["reward_mean"]}}

    def _sample(self, problems: list[GroupReset], sampling: SamplingParams, env: EnvName) -> SampleResult:
        """Samples whole groups, shared out over the env runners."""
        shares = np.array_split(np.arange(len(problems)), max(1, self.config.num_env_runners))
        requests = [
            SampleRequest(
                resets=[problems[i] for i in share],
                sampling=sampling,
                seed=self.config.seed or 0,
                max_prompt_tokens=self.config.max_prompt_tokens,
                max_episode_tokens=self.config.max_episode_tokens,
                env=env,
            )
            for share in shares
            if share.size
        ]
        calls = [methodcaller("sample", request) for request in requests]
        result = SampleResult.joined(self.samplers.share_out(calls, restore=self._restore_env_runners))
        stale = {rollout.policy_version for rollout in result.rollouts} - {self.policy_version}
        if stale:
            raise RuntimeError(f"Completions of policy versions {sorted(stale)} in step {self.policy_version}.")
        return result

    def _advantages(self, rollouts: list[Rollout]) -> GroupAdvantages:
        settings = self.config.noun(AdvantageSettings)
        rewards = np.array([r.reward for r in rollouts])
        if buffer := settings.overlong_buffer_tokens(self.config.max_tokens):
            lengths = np.array([r.num_own_tokens for r in rollouts])
            rewards += settings.overlong_penalty * overlong_punishment(lengths, self.config.max_tokens, buffer)
        # With a critic the Updater takes the KL off the reward of each token.
        if self.config.kl_coeff and self.config.kl_placement == "reward" and not settings.use_critic:
            batch = {**padded_columns(rollouts), "rewards": rewards.astype(np.float32)}
            rewards = self.updaters.ask(methodcaller("rewards_less_kl", batch))
        group_ids = np.array([r.group_id for r in rollouts])
        return estimate_advantages(settings.advantage, rewards, group_ids)

    def _update(self, columns: dict[str, np.ndarray]) -> None:
        batch = MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, env_steps=len(columns["lengths"]))
        results = self.learner_group.update(batch=batch)
        self.metrics.aggregate(results, key=LEARNER_RESULTS)

    def _deliver_weights(self) -> None:
        """Gives every engine the learner's weights, and compares both."""
        self.policy_version: int = self.updaters.ask(attrgetter("policy_version"))
        self.link.deliver(self.policy_version)
        self.sync_difference = 0.0
        if self.config.sync_check_bound is None:
            return
        sampling = self.config.sampling_params(n=1, max_tokens=_PROBE_TOKENS, seed=0)
        probes = list(self.samplers.call_all(methodcaller("probe", sampling)).values())
        if probes:  # else every engine has just failed: the next call restores them and comes back here
            settings = self.config.noun(EngineSettings)
            self.sync_difference = check_delivery(probes, self.updaters, settings, self.policy_version)

    def save_policy(self, folder: str | Path) -> None:
        """Writes the policy as a Hugging Face folder: configuration, safetensors, tokenizer.

        The weights come here from rank 0, and this process writes: a remote learner has another working directory, and
        perhaps another disk. That takes main memory for one copy of the model beside what the learners hold.

        Raises:
            OSError: If it cannot be written.
        """
        write_policy(folder, self.updaters.ask(methodcaller("copied_weights")), self.config.noun(PolicySettings))

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Returns RLlib's state and the problem sampler's."""
        with self._gathered_state(COMPONENT_LEARNER_GROUP not in force_list(not_components)):
            state = super().get_state(components, not_components=not_components, **kwargs)
        state["problem_sampler"] = self.problems.get_state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from `get_state`."""
        super().set_state(state)
        if "problem_sampler" in state:
            self.problems.set_state(state["problem_sampler"])

    def save_to_path(self, path: str | Path | None = None, **kwargs: Any) -> str:
        """Saves a checkpoint as RLlib does, and looks whether the learners' state is in it.

        A folder may be relative; a URI is RLlib's business alone.

        Raises:
            OSError: If the learners' state is not there.
        """
        path = absolute(path)
        with self._gathered_state(True):
            saved = super().save_to_path(path, **kwargs)
        if not isinstance(path, str):
            check_learner_state(Path(saved))
        return saved

    def restore_from_path(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """Restores a checkpoint and delivers its weights before it returns."""
        super().restore_from_path(absolute(path), *args, **kwargs)
        self._deliver_weights()

    def restore_env_runners(self, env_runner_group: Any) -> list[int]:
        """Brings dead env runners back, as RLlib does before each step, and gives them the current weights."""
        restored = super().restore_env_runners(env_runner_group)
        if restored:
            self.link.forget_group()
            self.num_env_runner_restarts += len(restored)
            self._deliver_weights()
        return restored

    def cleanup(self) -> None:
        """Gives back what the weight transfers took, and stops everything."""
        if hasattr(self, "link"):  # not where `setup` failed before it
            with suppress(RuntimeError, RayError):  # a learner that died has nothing to give back
                self.link.close()
        super().cleanup()

    @contextmanager
    def _gathered_state(self, wanted: bool) -> Iterator[None]:
        """Has rank 0 of sharded learners hold their full state, which takes all of them: RLlib asks it alone."""
        gather = wanted and self.config.fully_shard
        if gather:
            self.learners.tell(methodcaller("gather_state"))
        yield
        if gather:
            self.learners.tell(methodcaller("drop_state"))

    def _restore_env_runners(self) -> None:
        self.restore_env_runners(self.env_runner_group)
        # An engine may have failed under a living env runner.
        self._restart_failed_engines()
        self.link.forget_group()
        self._deliver_weights()

    def _restart_failed_engines(self) -> None:
        env_runners = EnvRunners(self.env_runner_group, "", timeout_s=self.config.sample_timeout_s)
        env_runners.call_all(methodcaller("restart_failed_engine"))

    def _check_dropped(self, num_dropped_prompts: int) -> None:
        if num_dropped_prompts >= (self.problems.num_problems or 10 * self.config.num_prompts):
            raise _all_dropped(self.config.max_prompt_tokens)

    def _log_step(self, sample: StepSample, advantages: GroupAdvantages, times: tuple[float, ...]) -> None:
        started, sampled, updated, delivered = times
        summary = {**step_summary(sample), **group_summary(advantages)}
        tokens = summary["num_sampled_completion_tokens"]
        values = {
            **summary,
            "num_env_runner_restarts": self.num_env_runner_restarts,
            "epoch": self.problems.epoch,
            "policy_version": self.policy_version,
            "sync_logprob_diff": self.sync_difference,
            "sample_s": sampled - started,
            "update_s": updated - sampled,
            "sync_s": delivered - updated,
            "tokens_per_s": tokens / (delivered - started),
            "sample_tokens_per_s": tokens / (sampled - started),
        }
        for name, value in values.items():
            self.metrics.log_value(("rollouts", name), value, window=1)
        num_steps = sum(r.num_turns for r in (*sample.rollouts, *sample.discarded))
        for key, value in (
            (("rollouts", "num_sampled_completion_tokens_lifetime"), tokens),
            ((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), num_steps),
        ):
            self.metrics.log_value(key, value, reduce="lifetime_sum")
        # The name that RLlib's own stoppers and schedulers look for.
        self.metrics.log_value((ENV_RUNNER_RESULTS, "episode_return_mean"), summary["reward_mean"], window=1)


def _all_dropped(limit: int) -> ValueError:
    return ValueError(
        f"Every prompt is longer than max_prompt_tokens={limit}: nothing is left to sample. "
        "Raise it with training(max_prompt_tokens=...) or --set max_prompt_tokens=N."
    )


register_trainable("GRPO", GRPO)
