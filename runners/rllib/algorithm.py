"""An RLlib algorithm whose policy is a language model: engines, learners, weights between them, and checkpoints.

RLlib places, calls, checkpoints and restarts; what a step samples and learns stands in a subclass's `training_step`.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from operator import attrgetter, methodcaller
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import COMPONENT_LEARNER_GROUP, DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils import force_list
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, LEARNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from agents import SamplingParams
from agents.models import resolve_model
from runners.rllib.callbacks import log_on_env_runners
from runners.rllib.checkpoint import absolute, check_learner_state, read_from
from runners.rllib.config import GRPOSettings
from runners.rllib.evaluation import evaluate
from runners.rllib.learner import update_from_shards
from runners.rllib.private import OneSetOfEngines
from runners.rllib.rl_module import TextPolicyModule
from runners.rllib.workers import EnvRunners, Learners, WorkerLost, lost_learners_named
from runners.sampling.problems import ProblemSampler, evaluation_resets
from runners.sampling.rollout import EnvName, GroupReset, Rollout, SampleRequest, SampleResult
from runners.sampling.summaries import episode_summary
from runners.settings import EngineSettings, LoraSettings, PolicySettings
from runners.updating.lora import lora_config, write_adapter
from runners.updating.policy_folder import write_policy
from runners.weights.check import FirstTokens, WeightCheck
from runners.weights.link import WeightLink

_CLOSE_S = 10.0


class TextAlgorithm(OneSetOfEngines, Algorithm):
    """Samples with engines and updates with learners; a subclass says what a step is.

    Attributes:
        problems: Which come next.
        learners, updaters, samplers: For calls to what the workers hold.
        link: Takes the weights to the engines.
        weight_check: Compares them with the learner then.
        policy_version: Of the weights that the engines have.
        sync_difference: Between engines and learner after the last delivery, mean nats a token.
        num_env_runner_restarts: So far.
        update_statistics: Of the last update.
        evaluation_rollouts: The greedy ones of the last evaluation.
    """

    config: GRPOSettings

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
        self.make_learner_calls()
        self.samplers = EnvRunners(self.env_runner_group, "sampler", timeout_s=self.config.sample_timeout_s)
        self._env_runners = EnvRunners(self.env_runner_group, "", timeout_s=self.config.sample_timeout_s)
        self.link = WeightLink(
            self.config.noun(EngineSettings),
            self._learners("sender", self.config.update_timeout_s),
            EnvRunners(self.env_runner_group, "receiver", timeout_s=self.config.sync_timeout_s),
            self._restore_engines,
        )
        self.weight_check = WeightCheck(
            self.samplers,
            self.updaters,
            self.config.noun(EngineSettings),
            self.config.sampling_params(temperature=self.config.scored_temperature),
            self.config.seed or 0,
        )
        self.deliver_weights()

    def make_learner_calls(self) -> None:
        """Makes `learners` and `updaters`, once there is a learner group."""
        self.learners = self._learners("", self.config.update_timeout_s)
        self.updaters = self._learners("updater", self.config.update_timeout_s)

    def evaluate(self, parallel_train_future: Any = None) -> dict[str, Any]:
        """Evaluates on the held-out problems, the same every time; see `runners.rllib.evaluation`."""
        return evaluate(self, evaluation_resets(self._num_eval_problems, self.config.evaluation_duration))

    def save_policy(self, folder: str | Path) -> None:
        """Writes the policy as a Hugging Face folder: configuration, safetensors, tokenizer; adapters in adapter/ too.

        The weights come here from rank 0, and this process writes: a remote learner has another working directory, and
        perhaps another disk. That takes main memory for one copy of the model beside what the learners hold.

        Raises:
            OSError: If it cannot be written.
        """
        policy, lora = self.config.noun(PolicySettings), self.config.noun(LoraSettings)
        write_policy(folder, self.updaters.ask(methodcaller("copied_weights")), policy)
        if adapters := self.updaters.ask(methodcaller("copied_adapters")):
            write_adapter(Path(folder) / "adapter", adapters, lora_config(lora, policy.policy_model))

    def get_module(self, module_id: str = DEFAULT_MODULE_ID) -> TextPolicyModule | None:
        """Returns the learner's module, or None for an unknown id. The Updater trains it: change nothing in it.

        Raises:
            RuntimeError: If the learners are remote, and it is in another process.
        """
        if self.config.num_learners:
            raise RuntimeError(
                f"get_module: with num_learners={self.config.num_learners} the module is in another process; "
                "get_weights() and save_policy(folder) bring its weights."
            )
        return self.learners.ask(attrgetter("module")).get(module_id)

    def get_weights(self, policies: Collection[str] | None = None) -> dict[str, Any]:
        """Returns {module id: {parameter name: float32 array}}; `policies` names the modules, None takes all."""
        with self._gathered_state(True):
            weights = self.learner_group.get_weights()
        return {name: arrays for name, arrays in weights.items() if policies is None or name in policies}

    def set_weights(self, weights: dict[str, Any]) -> None:
        """Gives learners and engines the weights of `get_weights`."""
        self.learner_group.set_weights(weights)
        self.deliver_weights()

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
        """Saves a checkpoint as RLlib does, and looks whether the learners' state is in it, but behind a URI.

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
        """Restores a checkpoint, and delivers its weights; ValueError if its state cannot be read."""
        with read_from(path):
            super().restore_from_path(absolute(path), *args, **kwargs)
        self.deliver_weights()

    def restore_env_runners(self, env_runner_group: Any) -> list[int]:
        """Brings dead env runners back, as RLlib does before each step, and gives them the current weights."""
        restored = self._restored_env_runners()
        if restored:
            self.deliver_weights()
        return restored

    def cleanup(self) -> None:
        """Gives back what the weight transfers took, and stops everything."""
        with suppress(WorkerLost):  # a learner that died or hangs has nothing to give back
            self._learners("sender", _CLOSE_S).tell(methodcaller("close"))
        super().cleanup()

    def _learners(self, noun: str, timeout_s: float) -> Learners:
        return Learners(self.learner_group, noun, together=self.config.fully_shard, timeout_s=timeout_s)

    def sample(self, problems: list[GroupReset], sampling: SamplingParams, env: EnvName) -> SampleResult:
        """Samples whole groups, shared out over the env runners."""
        shares = np.array_split(np.arange(len(problems)), max(1, self.config.num_env_runners))
        requests = [self.request([problems[i] for i in share], sampling, env) for share in shares if share.size]
        calls = [methodcaller("sample", request) for request in requests]
        result = SampleResult.joined(self.samplers.share_out(calls, restore=self.restore_and_deliver))
        if stale := {rollout.policy_version for rollout in result.rollouts} - {self.policy_version}:
            raise RuntimeError(f"Completions of policy versions {sorted(stale)} in step {self.policy_version}.")
        return result

    def request(self, problems: list[GroupReset], sampling: SamplingParams, env: EnvName) -> SampleRequest:
        """Returns the request for groups, for a `Sampler`."""
        config = self.config if env == "train" else self.evaluation_config
        return SampleRequest(
            resets=problems,
            sampling=sampling,
            seed=self.config.seed or 0,
            max_prompt_tokens=config.max_prompt_tokens,
            max_episode_tokens=config.max_episode_tokens,
            env=env,
        )

    def log_episodes(self, rollouts: Sequence[Rollout]) -> None:
        """Logs a step's episodes by the names that RLlib's reporters, stoppers and schedules look for."""
        for name, value in episode_summary(rollouts).items():
            if name.startswith("num_"):
                self.metrics.log_value((ENV_RUNNER_RESULTS, name), value, reduce="sum")
                self.metrics.log_value((ENV_RUNNER_RESULTS, f"{name}_lifetime"), value, reduce="lifetime_sum")
            else:
                self.metrics.log_value((ENV_RUNNER_RESULTS, name), value, window=1)
        self.metrics.aggregate(self.callbacks_metrics(), key=ENV_RUNNER_RESULTS)

    def callbacks_metrics(self) -> list[Any]:
        """Returns what callbacks have logged on the env runners since this was last asked."""
        if not log_on_env_runners(self.config, self.callbacks):
            return []
        return list(self._env_runners.call_all(methodcaller("get_metrics")).values())

    def update(self, columns: dict[str, np.ndarray]) -> None:
        """Has the learners update from B rows of a batch, sharded out over them.

        Schedules go by the environment steps sampled so far: the step's own decide on the next update.
        """
        batch = MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, env_steps=len(columns["lengths"]))
        shards = [data for data, _ in TrainingData(batch=batch).shard(max(1, self.config.num_learners))]
        if self.config.num_learners:
            shards = [ray.put(data) for data in shards]
        # Not `LearnerGroup.update`, which waits without a bound.
        timesteps = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps_sampled}
        results = self.learners.tell(partial(update_from_shards, shards=shards, timesteps=timesteps))
        self.metrics.aggregate(results, key=LEARNER_RESULTS)
        self.update_statistics = self.metrics.peek((LEARNER_RESULTS, DEFAULT_MODULE_ID))

    def log_rollouts(self, values: Mapping[str, float]) -> None:
        """Logs what a step knows of its rollouts, and what every step knows."""
        common = {"num_env_runner_restarts": self.num_env_runner_restarts, "epoch": self.problems.epoch}
        for name, value in {**values, **common}.items():
            self.metrics.log_value(("rollouts", name), value, window=1)

    @property
    def num_env_steps_sampled(self) -> int:
        """Steps of training episodes so far: what schedules go by."""
        return int(self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0))

    def deliver_weights(self, before: FirstTokens | None = None) -> None:
        """Gives every engine the learner's weights, and compares both: with `before`, on tokens of the step's batch."""
        self.policy_version: int = self.updaters.ask(attrgetter("policy_version"))
        self.link.deliver(self.policy_version)
        self.sync_difference = self.weight_check.after_delivery(self.policy_version, before)

    def restore_and_deliver(self) -> None:
        """Brings env runners and engines back, with the current weights."""
        self._restore_engines()
        self.deliver_weights()

    def _restore_engines(self) -> None:
        """Brings env runners and, under living ones, engines back, without weights."""
        self._restored_env_runners()
        self._env_runners.call_all(methodcaller("restart_failed_engine"))
        self.link.forget_group()

    def _restored_env_runners(self) -> list[int]:
        """Returns the env runners that Ray has started anew; waits for one if none is alive.

        Raises:
            WorkerLost: If none comes back within `env_runner_restore_timeout_s`.
        """
        restored = super().restore_env_runners(self.env_runner_group)
        deadline = time.monotonic() + self.config.env_runner_restore_timeout_s
        while not self.samplers.ids():
            if time.monotonic() > deadline:
                raise WorkerLost(
                    "No env runner came back within env_runner_restore_timeout_s="
                    f"{self.config.env_runner_restore_timeout_s:g}. The warnings above, and its log, say why."
                )
            time.sleep(1.0)  # a process that is being started refuses calls at once
            restored += super().restore_env_runners(self.env_runner_group)
        if restored:
            self.link.forget_group()
            self.num_env_runner_restarts += len(restored)
        return restored

    @contextmanager
    def _gathered_state(self, wanted: bool) -> Iterator[None]:
        """Has rank 0 of sharded learners hold their full state, which takes all of them: RLlib asks it alone."""
        gather = wanted and self.config.fully_shard
        if gather:
            self.learners.tell(methodcaller("gather_state"))
        with lost_learners_named():
            yield
        if gather:
            self.learners.tell(methodcaller("drop_state"))
