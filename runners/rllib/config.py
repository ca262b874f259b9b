"""Every setting of GRPO, its default and its checks."""

from __future__ import annotations

import difflib
import inspect
from dataclasses import replace
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from agents import SamplingParams
from runners.objectives.algorithms import ALGORITHMS, COMMON_SETTINGS
from runners.objectives.kl import KLKind
from runners.objectives.objective import KLPlacement, ObjectiveConfig, RatioReference
from runners.objectives.reductions import Aggregation
from runners.rllib.critic import CriticLearner
from runners.rllib.env_runner import TextEnvRunner
from runners.rllib.learner import GRPOLearner
from runners.rllib.rl_module import PLACEHOLDER_SPACE, TextPolicyModule
from runners.rllib.settings_check import check_sentinels, check_settings
from runners.rllib.sharded_learners import ShardedLearnerGroup
from runners.rllib.train_batch import BatchPlan


class GRPOSettings(AlgorithmConfig):
    """Settings of GRPO on RLlib's new API stack; those not named here are `AlgorithmConfig`'s.

    Policy and engine (`agents(...)`):
        policy_model: A name `agents.models.resolve_model` knows. Default "tiny".
        engine: A name `agents.make` knows. Default "transformers".
        engine_options: Passed to the engine untouched.
        dtype: Of the learner's weights: "float32" (default), "bfloat16" or "float16". On a GPU the passes run in
            bfloat16 autocast.
        trust_remote_code: Whether the checkpoint's folder may run code. Default False.
        num_threads: Torch threads in each process; None leaves torch's choice.
        weight_transfer: "auto" (default), "object_store", "ipc" or "collective": how the weights reach the engine; see
            `weight_sync.WeightSync` and, for "auto", `weight_paths.choose_path`.
        sleep_during_update: Whether the engines free their weights and KV cache while the learner updates, for a
            learner on the same GPU. Default False.
        gpus_per_engine: None (default) leaves an engine the GPUs that Ray reserved for its env runner
            (`num_gpus_per_env_runner`). A number has engines share the learners' GPUs: Ray reserves none for the env
            runners, and each takes that many of its machine's; see `gpu_claim`.
        sync_timeout_s: Bound on handing the weights to the agents, in seconds. Default 120.
        sync_check_bound: After each sync, engine and learner may differ by this much on a fixed prompt (mean nats a
            token); None does not compare. Default 0.05, which leaves room for a bfloat16 engine.

    Sampling (`training(...)`):
        num_prompts: N, problems a step. Default 32.
        group_size: G, completions a problem; >= 2 for advantages that compare within a group. Default 8.
        temperature, top_p: Of the training samples. Default 1.0 and 1.0; top_p < 1 is refused, because the learner
            would score another distribution than the one sampled from.
        max_prompt_tokens, max_tokens: Limits of prompt and completion. Default 512 and 256.
        dynamic_sampling: Replace groups whose rewards are all equal by new problems; see `rllib.dynamic_sampling`.
            Default False. max_refills: Rounds of replacement in a step, after which such groups stay. Default 4.
        max_episode_tokens: In an environment of several turns, no turn begins once prompt, completions and the user's
            messages have this many tokens; the rewards so far stand. None (default): while the context has room.

    Objective (`training(...)`):
        algorithm: A name in `objectives.algorithms.ALGORITHMS` sets everything in this block, and dynamic_sampling, to
            the published values, except what the same call gives. Default None: the values below.
        advantage: A name in `objectives.advantages.ADVANTAGES`, or "package.module:function". Default "grpo"; "gae"
            adds the critic below.
        surrogate: A name in `objectives.surrogates.SURROGATES`, or "package.module:function". Default "clip".
        clip_param, clip_param_high, dual_clip: See `objectives.surrogates`. Default 0.2, None (= clip_param), None.
        ratio_reference: "old" (default) or "rollout"; see `objectives.objective`.
        importance_cap: Cap of the weight that corrects the engine's mismatch. Default 2; None is off.
        aggregation: "token-mean" (default), "sequence-mean" or "constant-length".
        mask_truncated: Leave completions cut by max_tokens out of the loss. Default False: they count, with the reward
            the environment gave.
        kl_coeff: Weight of the KL to the first policy; 0 (default) keeps no reference model.
        kl_estimator: "k1", "k2" or "k3" (default). kl_placement: "loss" (default) or "reward".
        entropy_coeff: Weight of the entropy bonus. Default 0.
        overlong_buffer: The last tokens before max_tokens, in which a completion's reward falls by up to
            overlong_penalty (default 1); see `objectives.reward_shaping`. Below 1 it is a share of max_tokens. Default
            0, off.

    Critic, with advantage="gae" (`training(...)`): PPO with a value head on the policy's own transformer.
        gamma, lambda_: Of `objectives.gae`, a token. Default 1.0 and 1.0: the return less the value.
        whiten_advantages: Bring the advantages of a batch's tokens to mean 0 and deviation 1. Default True.
        vf_loss_coeff: Weight of the value loss; it reaches the transformer too. Default 0.1.
        vf_clip_param: Largest squared error of a value that counts; None (default) is no bound.
        vf_lr: Learning rate of the value head, which starts from zero; small models bear more. Default 1e-4.

    Update (`training(...)`):
        lr, grad_clip, num_epochs, minibatch_size: As in RLlib; `minibatch_size` counts sequences of one optimizer step
            over all learners, None takes all N * G. Defaults 1e-6, 1.0, 1, None.
        adam_betas, adam_epsilon, weight_decay: Of AdamW. Defaults (0.9, 0.95), 1e-8, 0.
        micro_batch_tokens: Padded tokens in one forward pass. Default 16384.
        max_logits: Most logits in memory at once, in elements. Default 2**25.
        share_prompts: Score a group's prompt once, for all its completions; see `objectives.packing`. Default True;
            needs attention layers that take a mask (no sliding window, no recurrence).
        fully_shard: Spread parameters, gradients and optimizer states over the learners, for a model that one GPU does
            not hold; see `rllib.sharding`. Default False: every learner has all of them.
        gradient_checkpointing: Run each block of the transformer twice instead of keeping what its backward pass needs.
            Default False.

    Evaluation (`evaluation(...)`): `evaluation_interval` in steps, `evaluation_duration` in problems, and
        `evaluation_config={"env_config": {"split": "test"}}`.
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class)
        self.policy_model = "tiny"
        self.engine = "transformers"
        self.engine_options: dict[str, Any] = {}
        self.dtype = "float32"
        self.trust_remote_code = False
        self.num_threads: int | None = None
        self.weight_transfer = "auto"
        self.sleep_during_update = False
        self.gpus_per_engine: int | None = None
        self.sync_timeout_s = 120.0
        self.sync_check_bound: float | None = 0.05

        self.num_prompts = 32
        self.group_size = 8
        self.temperature = 1.0
        self.top_p = 1.0
        self.max_prompt_tokens = 512
        self.max_tokens = 256
        self.dynamic_sampling = False
        self.max_refills = 4
        self.max_episode_tokens: int | None = None

        self.algorithm: str | None = None
        self.advantage = "grpo"
        self.surrogate = "clip"
        self.clip_param = 0.2
        self.clip_param_high: float | None = None
        self.dual_clip: float | None = None
        self.ratio_reference: RatioReference = "old"
        self.importance_cap: float | None = 2.0
        self.aggregation: Aggregation = "token-mean"
        self.mask_truncated = False
        self.kl_coeff = 0.0
        self.kl_estimator: KLKind = "k3"
        self.kl_placement: KLPlacement = "loss"
        self.entropy_coeff = 0.0
        self.overlong_buffer: float = 0
        self.overlong_penalty = 1.0

        self.gamma = 1.0
        self.lambda_ = 1.0
        self.whiten_advantages = True
        self.vf_loss_coeff = 0.1
        self.vf_clip_param: float | None = None
        self.vf_lr = 1e-4

        self.lr = 1e-6
        self.grad_clip = 1.0
        self.grad_clip_by = "global_norm"
        self.num_epochs = 1
        self.minibatch_size = None
        self.adam_betas = (0.9, 0.95)
        self.adam_epsilon = 1e-8
        self.weight_decay = 0.0
        self.micro_batch_tokens = 16_384
        self.max_logits = 2**25
        self.share_prompts = True
        self.fully_shard = False
        self.gradient_checkpointing = False

        # RLlib's defaults that do not fit: generation takes longer than an environment step, there is nothing to merge
        # between env runners, and the driver itself needs no engine.
        self.sample_timeout_s = 1800.0
        self.merge_env_runner_states = False
        self.broadcast_env_runner_states = False
        self.restart_failed_env_runners = True
        self.env_runner_cls = TextEnvRunner
        self.evaluation_duration = 256
        self.evaluation_duration_unit = "episodes"

    def agents(self, **settings: Any) -> GRPOSettings:
        """Sets the policy and its engine; see the class docstring.

        Raises:
            ValueError: For an unknown setting.
        """
        return self._set(
            settings,
            (
                "policy_model",
                "engine",
                "engine_options",
                "dtype",
                "trust_remote_code",
                "num_threads",
                "weight_transfer",
                "sleep_during_update",
                "gpus_per_engine",
                "sync_timeout_s",
                "sync_check_bound",
            ),
        )

    def training(self, **settings: Any) -> GRPOSettings:
        """Sets sampling, objective and update; see the class docstring. RLlib's own settings pass through.

        `algorithm` comes first: what else this call gives goes over it, what earlier calls gave does not.

        Raises:
            ValueError: For an unknown setting or algorithm.
        """
        if settings.get("algorithm") is not None:
            settings = {**ALGORITHMS.lookup(settings["algorithm"]).settings, **settings}
        own = {name: settings.pop(name) for name in list(settings) if name in _TRAINING_SETTINGS}
        for name in settings:
            if name not in _RLLIB_TRAINING_SETTINGS:
                raise ValueError(_unknown_setting(name, _TRAINING_SETTINGS))
        super().training(**settings)
        return self._set(own, _TRAINING_SETTINGS)

    def objective(self) -> ObjectiveConfig:
        """Returns what the loss needs."""
        return ObjectiveConfig(
            surrogate=self.surrogate,
            clip_param=self.clip_param,
            clip_param_high=self.clip_param_high,
            dual_clip=self.dual_clip,
            ratio_reference=self.ratio_reference,
            importance_cap=self.importance_cap,
            kl_coeff=self.kl_coeff,
            kl_estimator=self.kl_estimator,
            kl_placement=self.kl_placement,
            entropy_coeff=self.entropy_coeff,
        )

    def sampling_params(self, *, base: SamplingParams | None = None, **changes: Any) -> SamplingParams:
        """Returns the training samples' parameters, or `base`, with `changes`."""
        base = base or SamplingParams(
            n=self.group_size, temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens
        )
        return replace(base, **changes)

    def batch_plan(self) -> BatchPlan:
        """Returns how a step's sequences are spread over optimizer steps and learners."""
        return BatchPlan(
            minibatch_size=self.minibatch_size,
            num_epochs=self.num_epochs,
            aggregation=self.aggregation,
            max_tokens=self.max_tokens,
            mask_truncated=self.mask_truncated,
            num_learners=max(1, self.num_learners),
        )

    @property
    def use_critic(self) -> bool:
        """Whether the policy has a value head, and the learner trains it."""
        return self.advantage == "gae"

    def overlong_buffer_tokens(self) -> int:
        """Returns `overlong_buffer` in tokens; 0 is off."""
        buffer = self.overlong_buffer * self.max_tokens if self.overlong_buffer < 1 else self.overlong_buffer
        return max(1, round(buffer)) if buffer else 0

    def num_minibatches(self) -> int:
        """Returns the optimizer steps of one epoch."""
        return self.num_prompts * self.group_size // (self.minibatch_size or self.num_prompts * self.group_size)

    def get_default_learner_class(self) -> type:
        """Returns `GRPOLearner`, or `CriticLearner` with a critic."""
        return CriticLearner if self.use_critic else GRPOLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Returns the spec of `TextPolicyModule`."""
        return RLModuleSpec(
            module_class=TextPolicyModule,
            observation_space=PLACEHOLDER_SPACE,
            action_space=PLACEHOLDER_SPACE,
            model_config={
                "model": self.policy_model,
                "dtype": self.dtype,
                "trust_remote_code": self.trust_remote_code,
                "temperature": self.temperature,
                "max_logits": self.max_logits,
                "share_prompts": self.share_prompts,
                "entropy_coeff": self.entropy_coeff,
                "value_head": self.use_critic,
                "fully_shard": self.fully_shard,
                "gradient_checkpointing": self.gradient_checkpointing,
            },
        )

    def build_learner_group(
        self, *, rl_module_spec: Any = None, placement_group: Any = None, **kwargs: Any
    ) -> LearnerGroup:
        """Builds RLlib's `LearnerGroup`, or a `ShardedLearnerGroup`."""
        if not self.fully_shard:
            return super().build_learner_group(rl_module_spec=rl_module_spec, placement_group=placement_group, **kwargs)
        spec = rl_module_spec or self.get_multi_rl_module_spec(**kwargs)
        return ShardedLearnerGroup(config=self.copy(), module_spec=spec, placement_group=placement_group)

    def validate(self) -> None:
        """Checks every setting, RLlib's too.

        Raises:
            ValueError: For a value out of its range; the message says what is allowed.
        """
        super().validate()
        self.check()

    def check(self) -> None:
        """Checks GRPO's settings, and those of RLlib that it reads.

        Raises:
            ValueError: For a value out of its range; the message says what is allowed.
        """
        check_settings(self)
        self.objective()  # checks its own fields
        check_sentinels(self)

    def get_state(self) -> dict[str, Any]:
        """Returns RLlib's state, of which an algorithm is built; the settings are checked first.

        RLlib leaves every setting of -1 out, and `validate` would then see the default.
        """
        self.check()
        return super().get_state()

    def _set(self, settings: dict[str, Any], allowed: tuple[str, ...]) -> GRPOSettings:
        for name, value in settings.items():
            if name not in allowed:
                raise ValueError(_unknown_setting(name, allowed))
            setattr(self, name, value)
        return self


_TRAINING_SETTINGS = (
    "num_prompts",
    "group_size",
    "temperature",
    "top_p",
    "max_prompt_tokens",
    "max_tokens",
    "max_refills",
    "algorithm",
    *COMMON_SETTINGS,
    "max_episode_tokens",
    "vf_lr",
    "adam_betas",
    "adam_epsilon",
    "weight_decay",
    "micro_batch_tokens",
    "max_logits",
    "share_prompts",
    "fully_shard",
    "gradient_checkpointing",
)
_RLLIB_TRAINING_SETTINGS = frozenset(inspect.signature(AlgorithmConfig.training).parameters) - {"self"}


def _unknown_setting(name: str, allowed: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"GRPOConfig has no setting {name!r}.{hint} Its own are: {', '.join(allowed)}."
