"""GRPO's configuration on RLlib's new API stack: the settings of `runners.settings` as attributes."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from agents import SamplingParams
from runners.published import algorithm_settings
from runners.rllib.env_runner import TextEnvRunner
from runners.rllib.learner import GRPOLearner
from runners.rllib.rl_module import PLACEHOLDER_SPACE, TextPolicyModule
from runners.rllib.rllib_settings import check_rllib_settings
from runners.rllib.settings_check import check_meaningful, check_sentinels, check_together
from runners.sampling.environments import resolved_options
from runners.settings import (
    AGENT_NOUNS,
    TRAINING_NOUNS,
    AdvantageSettings,
    LoraSettings,
    PolicySettings,
    SamplingSettings,
    UpdateSettings,
)
from runners.support.settings import default_of, fields_of, unknown_setting
from runners.updating.batch import BatchPlan

N = TypeVar("N")


class GRPOSettings(AlgorithmConfig):
    """Settings of GRPO: those of docs/settings.md, by `agents(...)` and `training(...)`; others are RLlib's.

    Evaluation (`evaluation(...)`): `evaluation_interval` in steps, `evaluation_duration` in problems, of which
    `eval_sampled_problems` are sampled too (None is all), and what differs from training,
    `evaluation_config={"env_config": {"split": "test"}, "temperature": 0.6, "max_tokens": 512}`. Of RLlib's other
    settings `rllib_settings` names those that count.
    """

    training_settings: frozenset[str] = frozenset(fields_of(TRAINING_NOUNS))
    """Those of `training(...)` that a user may change."""
    needs_solutions = False
    """Whether the training environment must have an attribute `solution`."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class)
        for name, field in {**_AGENT_FIELDS, **_TRAINING_FIELDS}.items():
            setattr(self, name, default_of(field))

        # RLlib's defaults that do not fit: generation takes longer than an environment step, there is nothing to merge
        # between env runners, and the driver itself needs no engine.
        self.sample_timeout_s = 1800.0
        self.merge_env_runner_states = False
        self.broadcast_env_runner_states = False
        self.restart_failed_env_runners = True
        self.env_runner_cls = TextEnvRunner
        self.evaluation_duration = 256
        self.evaluation_duration_unit = "episodes"
        self.eval_sampled_problems: int | None = None

    def agents(self, **settings: Any) -> GRPOSettings:
        """Sets the policy and its engine.

        Raises:
            ValueError: For an unknown setting.
        """
        return self._set(settings, _AGENT_FIELDS)

    def training(self, **settings: Any) -> GRPOSettings:
        """Sets sampling, objective and update; RLlib's own settings pass through.

        `algorithm` comes first: what else this call gives goes over it, what earlier calls gave does not.

        Raises:
            ValueError: For an unknown setting or algorithm.
        """
        if settings.get("algorithm") is not None:
            settings = {**algorithm_settings(settings["algorithm"]), **settings}
        own = {name: settings.pop(name) for name in list(settings) if name in _TRAINING_FIELDS}
        for name in settings:
            if name not in _RLLIB_TRAINING_SETTINGS:
                raise unknown_setting(name, list(_TRAINING_FIELDS))
        try:
            super().training(**settings)
        except TypeError as error:
            raise ValueError(f"{settings}: RLlib does not take it ({error}).") from error
        return self._set(own, _TRAINING_FIELDS)

    def evaluation(self, **settings: Any) -> GRPOSettings:
        """Sets evaluation: `eval_sampled_problems` here, and RLlib's settings."""
        self.eval_sampled_problems = settings.pop("eval_sampled_problems", self.eval_sampled_problems)
        super().evaluation(**settings)
        return self

    def update_from_dict(self, config_dict: dict[str, Any]) -> GRPOSettings:
        """Sets settings by name, as Tune does; of an `algorithm` the others are set first, as in `training`.

        Raises:
            ValueError: For an unknown setting or algorithm.
        """
        if config_dict.get("algorithm") is not None:
            self.training(algorithm=config_dict["algorithm"])
        known = set(vars(self))
        super().update_from_dict(config_dict)
        for name in sorted(vars(self).keys() - known):
            if not name.startswith("__"):  # such as Tune's __stdout_file__
                raise unknown_setting(name, [*_AGENT_FIELDS, *_TRAINING_FIELDS])
        return self

    def noun(self, cls: type[N]) -> N:
        """Returns one of the dataclasses of `runners.settings`.

        Raises:
            ValueError: For a value out of its range; the message says what is allowed.
        """
        return cls(**{field.name: getattr(self, field.name) for field in dataclasses.fields(cls)})  # type: ignore[arg-type]

    @property
    def scored_temperature(self) -> float:
        """Of the distribution whose log-probs the learner takes."""
        return self.noun(SamplingSettings).temperature

    def sampling_params(self, **changes: Any) -> SamplingParams:
        """Returns the training samples' parameters, with `changes`."""
        params = SamplingParams(
            n=self.group_size, temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens
        )
        return replace(params, **changes)

    def step_words(self) -> str:
        """Returns what a step is made of."""
        return f"{self.num_prompts} problems x {self.group_size} completions"

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

    def with_resolved_env_options(self) -> GRPOSettings:
        """Returns a frozen copy in which dataset="auto" and the like are what they resolve to here."""
        config = self.copy(copy_frozen=False)
        evaluation_config = dict(config.evaluation_config or {})
        pinned = resolved_options(config.env, config.env_config)
        config.environment(env_config=pinned)
        overrides = {**pinned, **evaluation_config.get("env_config", {})}
        evaluation_config["env_config"] = resolved_options(config.env, overrides)
        config.evaluation(evaluation_config=evaluation_config)
        config.freeze()
        return config

    def get_default_learner_class(self) -> type:
        """Returns `GRPOLearner`."""
        return GRPOLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Returns the spec of `TextPolicyModule`."""
        return RLModuleSpec(
            module_class=TextPolicyModule,
            observation_space=PLACEHOLDER_SPACE,
            action_space=PLACEHOLDER_SPACE,
            model_config={
                "policy": self.noun(PolicySettings),
                "update": self.noun(UpdateSettings),
                "lora": self.noun(LoraSettings),
                "seed": self.seed or 0,
                "temperature": self.scored_temperature,
                "value_head": self.noun(AdvantageSettings).use_critic,
            },
        )

    def validate(self) -> None:
        """Checks every setting, RLlib's too.

        Raises:
            ValueError: For a value out of its range; the message says what is allowed.
        """
        self.check()
        super().validate()

    def check(self) -> None:
        """Checks GRPO's settings, and those of RLlib that it reads.

        Raises:
            ValueError: For a value out of its range; the message says what is allowed.
        """
        for noun in (*AGENT_NOUNS, *TRAINING_NOUNS):
            self.noun(noun)
        check_meaningful(self)
        if self.in_evaluation:  # RLlib's copy with `evaluation_config` over it: the rest was checked as it was given
            return
        check_together(self)
        check_sentinels(self)
        check_rllib_settings(self)

    def get_state(self) -> dict[str, Any]:
        """Returns RLlib's state, of which an algorithm is built; the settings are checked first.

        RLlib leaves every setting of -1 out, and `validate` would then see the default.
        """
        self.check()
        return super().get_state()

    def _set(self, settings: dict[str, Any], known: Iterable[str]) -> GRPOSettings:
        for name, value in settings.items():
            if name not in known:
                raise unknown_setting(name, list(known))
            setattr(self, name, value)
        return self


_AGENT_FIELDS = fields_of(AGENT_NOUNS)
_TRAINING_FIELDS = fields_of(TRAINING_NOUNS)
_RLLIB_TRAINING_SETTINGS = frozenset(inspect.signature(AlgorithmConfig.training).parameters) - {"self"}
