"""GRPO as an RLlib algorithm: the configuration and the training step.

    config = GRPOConfig().environment("gsm8k_env:GSM8K-v0", env_config={"dataset": "builtin:1-2"})
    algo = config.build_algo()
    algo.train()

Group Relative Policy Optimization: Shao et al., DeepSeekMath, https://arxiv.org/abs/2402.03300.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_LEARNER_GROUP, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, LEARNER_RESULTS
from ray.tune import register_trainable

from agents import SamplingParams
from agents.models import resolve_model
from runners.objectives.advantages import GroupAdvantages, estimate_advantages
from runners.objectives.reward_shaping import overlong_punishment
from runners.rllib.calls import broadcast, call_env_runners
from runners.rllib.config import GRPOSettings
from runners.rllib.dynamic_sampling import StepSample, sample_step
from runners.rllib.policy_export import write_policy
from runners.rllib.problem_sampler import ProblemSampler, evaluation_resets, sampling_seed
from runners.rllib.rollout import EnvName, GroupReset, Rollout, SampledTokens, SampleRequest, SampleResult
from runners.rllib.summaries import evaluation_summary, group_summary, step_summary
from runners.rllib.train_batch import build_train_batch, padded_columns
from runners.rllib.weight_sync import WeightSync

T = TypeVar("T")
_PROBE_TOKENS = 8


class GRPOConfig(GRPOSettings):
    """Configuration of `GRPO`; every setting is documented in `GRPOSettings`."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or GRPO)


class GRPO(Algorithm):
    """Each iteration: choose problems, sample groups, compute advantages, update the policy, hand out the weights."""

    config: GRPOSettings

    @classmethod
    def get_default_config(cls) -> GRPOConfig:
        """Returns the default configuration."""
        return GRPOConfig()

    def setup(self, config: GRPOSettings) -> None:
        """Pins what may differ between machines, then builds env runners and learners."""
        self.num_env_runner_restarts = 0
        self.sync_difference = 0.0
        # Resolved once here: a wrong name fails before any worker starts, and a hub model is fetched once.
        resolve_model(self.config.policy_model)
        self._pin_env_configs()
        super().setup(config)
        local = self.env_runner_group.local_env_runner
        self.problem_sampler = ProblemSampler(local.num_problems("train"), self.config.seed or 0)
        self._num_eval_problems = local.num_problems("eval")
        self.evaluation_rollouts: list[Rollout] = []
        self.weight_sync = WeightSync(self.config, self.learner_group, self.env_runner_group)
        self._sync_weights()

    def training_step(self) -> None:
        """One step of GRPO, on new problems."""
        started = time.perf_counter()
        sample = self._sample_step()
        sampled = time.perf_counter()
        self.weight_sync.sleep()
        advantages = self._advantages(sample.rollouts)
        self._update(sample.rollouts, advantages)
        updated = time.perf_counter()
        self._sync_weights()
        synced = time.perf_counter()

        summary = {**step_summary(sample), **group_summary(advantages)}
        tokens = summary["num_sampled_completion_tokens"]
        self._log(
            "rollouts",
            **summary,
            num_env_runner_restarts=self.num_env_runner_restarts,
            epoch=self.problem_sampler.epoch,
            policy_version=self.policy_version,
            sync_logprob_diff=self.sync_difference,
            sample_s=sampled - started,
            update_s=updated - sampled,
            sync_s=synced - updated,
            tokens_per_s=tokens / (synced - started),
            sample_tokens_per_s=tokens / (sampled - started),
        )
        self._log_lifetime(("rollouts", "num_sampled_completion_tokens_lifetime"), tokens)
        # The names that RLlib's own stoppers and schedulers look for.
        self._log(ENV_RUNNER_RESULTS, episode_return_mean=summary["reward_mean"])
        num_steps = sum(r.num_turns for r in (*sample.rollouts, *sample.discarded))
        self._log_lifetime((ENV_RUNNER_RESULTS, "num_env_steps_sampled_lifetime"), num_steps)

    def evaluate(self, parallel_train_future: Any = None) -> dict[str, Any]:
        """Evaluates on the held-out problems: greedy, and sampled at the training temperature.

        The same problems every time, one episode each, on the training env runners and their engines.

        Returns:
            {"greedy": `evaluation_summary`, "sampled": the same, "env_runners": {"episode_return_mean": greedy's}}.
        """
        resets = evaluation_resets(self._num_eval_problems, self.config.evaluation_duration)
        greedy = self._sample(resets, self.config.sampling_params(n=1, temperature=0.0), "eval").rollouts
        sampled = self._sample(resets, self.config.sampling_params(n=1), "eval").rollouts
        if not greedy:
            raise ValueError(_all_dropped_message(self.config.max_prompt_tokens))
        self.evaluation_rollouts = greedy
        results = {"greedy": evaluation_summary(greedy), "sampled": evaluation_summary(sampled)}
        return {**results, ENV_RUNNER_RESULTS: {"episode_return_mean": results["greedy"]["reward_mean"]}}

    def save_policy(self, folder: str | Path) -> None:
        """Writes the policy as a Hugging Face folder: configuration, safetensors, tokenizer.

        The weights come here from rank 0, and this process writes: a remote learner has another working directory, and
        perhaps another disk. That takes main memory for one copy of the model beside what the learners hold.

        Raises:
            OSError: If it cannot be written.
        """
        config = self.config
        write_policy(
            folder,
            self._ask_first_learner(_exported_weights),
            model=config.policy_model,
            dtype=config.dtype,
            trust_remote_code=config.trust_remote_code,
        )

    def save_to_path(self, path: str | Path | None = None, **kwargs: Any) -> str:
        """Saves a checkpoint as RLlib does, and looks whether the learners' state is in it.

        A folder may be relative; a URI is RLlib's business alone.

        Raises:
            OSError: If the learners' state is not there: RLlib does not ask whether a remote learner could write it.
        """
        path = _absolute(path)
        saved = super().save_to_path(path, **kwargs)
        if not isinstance(path, str):
            _check_learner_state(Path(saved))
        return saved

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Returns RLlib's state and the problem sampler's."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        state["problem_sampler"] = self.problem_sampler.get_state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from `get_state`."""
        super().set_state(state)
        if "problem_sampler" in state:
            self.problem_sampler.set_state(state["problem_sampler"])

    def restore_from_path(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """Restores a checkpoint and hands its weights to the agents before it returns."""
        super().restore_from_path(_absolute(path), *args, **kwargs)
        self._sync_weights()

    def restore_env_runners(self, env_runner_group: Any) -> list[int]:
        """Brings dead env runners back, as RLlib does before each step, and gives them the current weights."""
        restored = super().restore_env_runners(env_runner_group)
        if restored:
            self.weight_sync.forget_group()
            self.num_env_runner_restarts += len(restored)
            self._sync_weights()
        return restored

    def cleanup(self) -> None:
        """Gives back what the weight transfers took, and stops everything."""
        if hasattr(self, "weight_sync"):  # not where `setup` failed before it
            self.weight_sync.close()
        super().cleanup()

    @classmethod
    def _should_create_evaluation_env_runners(cls, eval_config: Any) -> bool:
        """Never: a second set of engines would hold a second copy of the model."""
        return False

    def _pin_env_configs(self) -> None:
        """Replaces options such as dataset="auto" by what they resolve to here, so that all workers agree.

        An environment that has such options names their resolved values in `resolved_options`.
        """
        config = self.config.copy(copy_frozen=False)
        evaluation_config = dict(config.evaluation_config or {})
        pinned = _resolved_options(config.env, dict(config.env_config))
        config.environment(env_config=pinned)
        overrides = {**pinned, **evaluation_config.get("env_config", {})}
        evaluation_config["env_config"] = _resolved_options(config.env, overrides)
        config.evaluation(evaluation_config=evaluation_config)
        config.freeze()
        self.config = config

    def _sample_step(self) -> StepSample:
        """Samples `num_prompts` groups; see `dynamic_sampling`."""
        config = self.config
        sample = sample_step(
            lambda count: self._sample(self.problem_sampler.draw(count), config.sampling_params(), "train"),
            num_prompts=config.num_prompts,
            max_refills=config.max_refills if config.dynamic_sampling else 0,
            max_dropped_prompts=self.problem_sampler.num_problems or 10 * config.num_prompts,
        )
        if sample is None:
            raise ValueError(_all_dropped_message(config.max_prompt_tokens))
        stale = {r.policy_version for r in sample.rollouts} - {self.policy_version}
        if stale:
            raise RuntimeError(f"Completions of policy versions {sorted(stale)} in step {self.policy_version}.")
        return sample

    def _sample(self, resets: list[GroupReset], sampling: SamplingParams, env: EnvName) -> SampleResult:
        """Samples whole groups, shared out over the env runners."""
        shares = np.array_split(np.arange(len(resets)), max(1, self.config.num_env_runners))
        tasks = []
        for share in shares:
            if not share.size:
                continue
            groups = [resets[i] for i in share]
            seed = sampling_seed(self.config.seed or 0, groups[0].group_id, env)
            request = SampleRequest(
                resets=groups,
                sampling=self.config.sampling_params(base=sampling, seed=seed),
                max_prompt_tokens=self.config.max_prompt_tokens,
                max_episode_tokens=self.config.max_episode_tokens,
                env=env,
            )
            tasks.append(partial(_sample_request, request=request))
        results = call_env_runners(
            self.env_runner_group, tasks, timeout_s=self.config.sample_timeout_s, restore=self._restore_env_runners
        )
        return SampleResult(
            rollouts=[rollout for result in results for rollout in result.rollouts],
            num_dropped_prompts=sum(result.num_dropped_prompts for result in results),
        )

    def _restore_env_runners(self) -> None:
        self.restore_env_runners(self.env_runner_group)
        # An engine may have failed under a living env runner.
        broadcast(self.env_runner_group, _restart_failed_engine, timeout_s=self.config.sample_timeout_s)
        self.weight_sync.forget_group()
        self._sync_weights()

    def _advantages(self, rollouts: list[Rollout]) -> GroupAdvantages:
        rewards = np.array([r.reward for r in rollouts])
        if buffer := self.config.overlong_buffer_tokens():
            lengths = np.array([r.num_own_tokens for r in rollouts])
            rewards += self.config.overlong_penalty * overlong_punishment(lengths, self.config.max_tokens, buffer)
        # With a critic the learner takes the KL off the reward of each token.
        if self.config.kl_coeff and self.config.kl_placement == "reward" and not self.config.use_critic:
            batch = _as_batch({**padded_columns(rollouts), "rewards": rewards})
            rewards = self._ask_first_learner(partial(_rewards_less_kl, batch=batch))
        group_ids = np.array([r.group_id for r in rollouts])
        return estimate_advantages(self.config.advantage, rewards, group_ids)

    def _update(self, rollouts: list[Rollout], advantages: GroupAdvantages) -> None:
        rng = np.random.default_rng([self.config.seed or 0, self.iteration, 1])
        columns = build_train_batch(rollouts, advantages, self.config.batch_plan(), rng)
        results = self.learner_group.update(batch=_as_batch(columns))
        self.metrics.aggregate(results, key=LEARNER_RESULTS)

    def _sync_weights(self) -> None:
        """Hands the learner's weights to every agent, and waits until all have them."""
        self.policy_version = self.weight_sync.send()
        if self.config.sync_check_bound is not None:
            self._check_sync(self.config.sync_check_bound)

    def _check_sync(self, bound: float) -> None:
        """Compares each engine's log-probabilities of a fixed prompt's completion with the learner's.

        Raises:
            RuntimeError: If they differ by more than `bound` in the mean: the engine does not run these weights.
        """
        sampling = self.config.sampling_params(n=1, max_tokens=_PROBE_TOKENS, seed=0)
        probes = broadcast(
            self.env_runner_group, partial(_probe, sampling=sampling), timeout_s=self.config.sync_timeout_s
        )
        if not probes:
            return  # every engine has just failed: the next call restores them and comes back here
        mean, largest = self._ask_first_learner(partial(_rollout_difference, batch=_as_batch(padded_columns(probes))))
        self.sync_difference = mean
        if not mean <= bound:
            raise RuntimeError(
                f"After the weight sync to policy version {self.policy_version}, engine {self.config.engine!r} and "
                f"learner differ by {mean:.3g} nats a token (largest {largest:.3g}) on a fixed prompt; allowed are "
                f"{bound}. The engine does not run the learner's weights, or in another precision: check its dtype, or "
                "raise agents(sync_check_bound=...)."
            )

    def _ask_first_learner(self, question: Callable[[Any], T]) -> T:
        return self.weight_sync.ask_first_learner(question)

    def _log(self, key: str, **values: float) -> None:
        for name, value in values.items():
            self.metrics.log_value((key, name), value, window=1)

    def _log_lifetime(self, key: tuple[str, str], value: float) -> None:
        self.metrics.log_value(key, value, reduce="lifetime_sum")


def _sample_request(env_runner: Any, *, request: SampleRequest) -> SampleResult:
    return env_runner.sample(request)


def _probe(env_runner: Any, *, sampling: SamplingParams) -> SampledTokens:
    return env_runner.probe(sampling)


def _restart_failed_engine(env_runner: Any) -> None:
    env_runner.restart_failed_engine()


def _exported_weights(learner: Any) -> dict[str, torch.Tensor]:
    return learner.exported_weights()


def _rewards_less_kl(learner: Any, *, batch: MultiAgentBatch) -> np.ndarray:
    return learner.rewards_less_kl(batch)


def _rollout_difference(learner: Any, *, batch: MultiAgentBatch) -> tuple[float, float]:
    return learner.rollout_difference(batch)


def _as_batch(columns: dict[str, np.ndarray]) -> MultiAgentBatch:
    return MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, env_steps=len(columns["lengths"]))


def _absolute(path: Any) -> Any:
    """Returns a folder as every process of this machine understands it; a URI as it is."""
    return path if path is None or "://" in str(path) else Path(path).resolve()


def _check_learner_state(checkpoint: Path) -> None:
    learner = checkpoint / COMPONENT_LEARNER_GROUP / COMPONENT_LEARNER
    for part in (learner, learner / COMPONENT_RL_MODULE / DEFAULT_MODULE_ID):
        states = list(part.glob("*state.*"))
        if not states or not all(map(_whole, states)):
            raise OSError(
                f"The checkpoint {checkpoint} is not whole: the learners' state is missing or cut short in {part}. Is "
                "the disk full, or may the learner not write there?"
            )


def _whole(state: Path) -> bool:
    with state.open("rb") as file:
        file.seek(max(0, state.stat().st_size - 1))
        last = file.read()
    return last == pickle.STOP if state.suffix == ".pkl" else bool(last)


def _resolved_options(env_id: Any, options: dict[str, Any]) -> dict[str, Any]:
    env = gym.make(env_id, disable_env_checker=True, **options)
    if env.has_wrapper_attr("resolved_options"):
        options = {**options, **env.get_wrapper_attr("resolved_options")}
    env.close()
    return options


def _all_dropped_message(limit: int) -> str:
    return (
        f"Every prompt is longer than max_prompt_tokens={limit}: nothing is left to sample. "
        "Raise it with training(max_prompt_tokens=...) or --set max_prompt_tokens=N."
    )


register_trainable("GRPO", GRPO)
