"""The text env runner: RLlib's place for a Sampler and its engine."""

from __future__ import annotations

import os
from typing import Any

import gymnasium as gym
import ray
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.env import INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable

import agents
from runners.asynchrony.background import BackgroundSampler, check_streams
from runners.rllib.callbacks import EnvRunnerCallbacks
from runners.rllib.gpu_claim import GPUClaim
from runners.rllib.process import prepare_torch
from runners.rllib.rl_module import PLACEHOLDER_SPACE
from runners.sampling.environments import Environments
from runners.sampling.rollout import SampleRequest, SampleResult
from runners.sampling.sampler import Sampler
from runners.weights.receiver import WeightReceiver


class TextEnvRunner(EnvRunner, Checkpointable):
    """Makes environments, an engine, and the Sampler and WeightReceiver over them.

    The local env runner of a group with remote ones makes no engine: it answers questions about the environments only.

    Attributes:
        environments: Of training and evaluation.
        agent: The engine; None without one.
        sampler, receiver: For the driver to call. Where the engine could not be started, asking for one raises why:
            the driver learns it, where Ray would only start the process again and again.
        engine_failed: Whether a call has ended in an `EngineError` since the engine was started.
    """

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        evaluation = self.config.get_evaluation_config_object().env_config
        self._callbacks = EnvRunnerCallbacks(self)
        self.environments = Environments(
            self.config.env, {"train": self.config.env_config, "eval": evaluation}, self._callbacks.make_environment
        )
        self.engine_failed = False
        self.agent: agents.Agent | None = None
        self._start_error: Exception | None = None
        if self.worker_index or not self.num_workers:
            self._start_engine()

    @property
    def sampler(self) -> Sampler | BackgroundSampler:
        """Over the engine."""
        if self._start_error is not None:
            raise self._start_error
        return self._sampler

    @property
    def receiver(self) -> WeightReceiver:
        """Over the engine."""
        if self._start_error is not None:
            raise self._start_error
        return self._receiver

    def sample(self, request: SampleRequest, **kwargs: Any) -> SampleResult:
        """Samples every group of `request`; the driver asks the Sampler itself."""
        return self.sampler.sample(request)

    def restart_failed_engine(self) -> None:
        """Starts the engine anew if a call to it failed; its weights are the checkpoint's until the next delivery."""
        if not self.engine_failed:
            return
        if self.agent is None:
            self._start_engine()
        else:
            self._sampler.forget_all()
            self.agent.restart()
        self.engine_failed = self._start_error is not None

    def get_spaces(self) -> dict[str, tuple[gym.Space, gym.Space]]:
        """Returns the environment's text spaces, and a placeholder for the RLModule, whose catalog knows no text."""
        return {
            INPUT_ENV_SPACES: self.environments.spaces(),
            DEFAULT_MODULE_ID: (PLACEHOLDER_SPACE, PLACEHOLDER_SPACE),
        }

    def assert_healthy(self) -> None:
        """Does nothing: the driver asks for what it needs, and gets the reason where it is not there."""

    def get_metrics(self) -> dict[str, Any]:
        """Returns what callbacks logged here; the driver computes its own from the rollouts."""
        return self.metrics.reduce()

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Returns nothing: weights are the learner's, and a sequence's random numbers follow from its seed."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes nothing: RLlib would bring the learner's module, and an engine's weights come by the WeightLink."""

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[()], dict[str, Any]]:
        """Returns what RLlib needs to make this env runner again from a checkpoint."""
        return (), {"config": self.config}

    def stop(self) -> None:
        """Closes the environments and the engine."""
        sampler = getattr(self, "_sampler", None)  # none where there is no engine
        if isinstance(sampler, BackgroundSampler):
            sampler.close()
        self.environments.close()
        if self.agent is not None:
            self.agent.close()

    def _start_engine(self) -> None:
        try:
            self.agent = self._make_agent()
            self._sampler = self._make_sampler(self.agent)
        except Exception as error:
            if not self.worker_index:
                raise
            self._start_error = error
            return
        self._start_error = None
        self._receiver = WeightReceiver(
            self.agent,
            node=ray.get_runtime_context().get_node_id(),
            remote="url" in self.config.engine_options,
            loading=self._sampler.loading_weights,
        )

    def _make_sampler(self, agent: agents.Agent) -> Sampler | BackgroundSampler:
        config = self.config
        sampler = self._callbacks.sampler(
            self.environments,
            agent,
            env_threads=config.env_threads,
            env_step_timeout_s=config.env_step_timeout_s,
            stream=True if config.max_staleness else None,
        )
        if not config.max_staleness:
            return sampler
        check_streams(agent, config.engine, config.in_flight)
        return BackgroundSampler(sampler, config.in_flight, round_timeout_s=config.sample_timeout_s)

    def _make_agent(self) -> agents.Agent:
        config = self.config
        prepare_torch(config.num_threads)
        if config.gpus_per_engine:
            self._claim = GPUClaim(config.gpus_per_engine, torch.cuda.device_count())
            os.environ["CUDA_VISIBLE_DEVICES"] = self._claim.gpus
        options = dict(config.engine_options)
        if config.trust_remote_code:
            options["trust_remote_code"] = True
        if config.sleep_during_update:
            options["enable_sleep_mode"] = True
        if config.weight_transfer == "adapter":
            options["adapter_rank"] = config.lora_rank
        return agents.make(config.engine, model=config.policy_model, **options)
