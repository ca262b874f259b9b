"""The learner: RLlib's place for an `Updater`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import ray
import torch
from ray.rllib.core import ALL_MODULES, DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.utils import force_list
from ray.rllib.utils.metrics import (
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_TRAINED,
    NUM_ENV_STEPS_TRAINED_LIFETIME,
    NUM_MODULE_STEPS_TRAINED,
    NUM_MODULE_STEPS_TRAINED_LIFETIME,
    WEIGHTS_SEQ_NO,
)
from ray.rllib.utils.schedules.scheduler import Scheduler

from runners.objectives.objective import ObjectiveConfig
from runners.rllib.private import BareModules
from runners.rllib.process import prepare_torch
from runners.rllib.stored_weights import store
from runners.settings import AdvantageSettings, CriticSettings, LoraSettings, PolicySettings, UpdateSettings
from runners.support.schedules import initial_value
from runners.updating.critic import CriticUpdater
from runners.updating.model import make_optimizers, make_reference
from runners.updating.ranks import is_rank_0, rank
from runners.updating.scorer import Scorer
from runners.updating.scorer_check import ScorerCheck
from runners.updating.sharding import keep_state_full
from runners.updating.updater import Updater
from runners.weights.sender import WeightSender

_POLICY_VERSION, _ENTROPY_COEFF = "policy_version", "entropy_coeff"


class GRPOLearner(BareModules, TorchLearner):
    """Builds module, optimizers and Updater, and gives the Updater the batches.

    RLlib holds the optimizers' states and learning rates. With `fully_shard` everything that returns weights or state
    must be asked of all learners at once.

    Attributes:
        updater, sender: For the driver to call.
    """

    def build(self) -> None:
        """Builds the module and its optimizers, then the Updater."""
        config = self.config
        prepare_torch(config.num_threads)
        # RLlib sets it in the driver only; Ray's helper warns here of a deprecated class that RLlib itself makes.
        logging.getLogger("ray").setLevel(config.log_level)
        super().build()
        self._full_state: dict[str, Any] | None = None
        self._entropy_coeff = Scheduler(config.entropy_coeff)
        scorer, update, objective = self._scorer, config.noun(UpdateSettings), config.noun(ObjectiveConfig)
        optimizers = [optimizer for _, optimizer in self.get_optimizers_for_module(DEFAULT_MODULE_ID)]
        reference = None
        if objective.kl_coeff:
            reference = make_reference(scorer, config.noun(PolicySettings), update, config.noun(LoraSettings))
        scorers = [scorer, reference] if isinstance(reference, Scorer) else [scorer]
        self._scorer_check = ScorerCheck(scorers, group_size=config.group_size)
        self._scorer_check.cover(config.max_episode_tokens or config.max_prompt_tokens + config.max_tokens)
        self.updater = self.make_updater(
            scorer, optimizers, update, objective, reference=reference, stale=config.max_staleness > 0
        )
        self.sender = WeightSender(
            self.updater,
            sharded=update.fully_shard,
            node=ray.get_runtime_context().get_node_id(),
            address=ray.util.get_node_ip_address(),
            **({"share": store} if config.num_env_runners else {}),
        )

    def make_updater(self, *args: Any, **kwargs: Any) -> Updater:
        """Returns the Updater, of these arguments."""
        if self.config.noun(AdvantageSettings).use_critic:
            return CriticUpdater(self.config.noun(CriticSettings), *args, **kwargs)
        return Updater(*args, **kwargs)

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Registers the optimizers of `make_optimizers`."""
        update, critic = config.noun(UpdateSettings), config.noun(CriticSettings)
        for name, (optimizer, lr) in make_optimizers(self._scorer, update, critic).items():
            if update.fully_shard:
                keep_state_full(optimizer)
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            self.register_optimizer(
                module_id=module_id, optimizer_name=name, optimizer=optimizer, params=parameters, lr_or_lr_schedule=lr
            )
            for group in optimizer.param_groups:  # of a schedule RLlib sets a float32 tensor, until it first moves
                group["lr"] = initial_value(lr)

    def update(self, *, training_data: Any, timesteps: Any = None, **kwargs: Any) -> Any:
        """Gives this learner's rows to the Updater, and returns the metrics, reduced."""
        self.before_gradient_based_update(timesteps=timesteps or {})
        rows = training_data.batch
        self._scorer_check.cover(int(rows[DEFAULT_MODULE_ID]["lengths"].max()))
        for name, value in self.updater.update(dict(rows[DEFAULT_MODULE_ID])).items():
            reduce = "max" if name.endswith("_max") else "mean"
            self.metrics.log_value((DEFAULT_MODULE_ID, name), value, reduce=reduce)
        trained = self.config.num_epochs * rows.count
        for key in ((DEFAULT_MODULE_ID, NUM_MODULE_STEPS_TRAINED), (ALL_MODULES, NUM_ENV_STEPS_TRAINED)):
            self.metrics.log_value(key, trained, reduce="sum")
        for key in (
            (DEFAULT_MODULE_ID, NUM_MODULE_STEPS_TRAINED_LIFETIME),
            (ALL_MODULES, NUM_ENV_STEPS_TRAINED_LIFETIME),
        ):
            self.metrics.log_value(key, trained, reduce="lifetime_sum")
        self.after_gradient_based_update(timesteps=timesteps or {})
        return self.metrics.reduce()

    def after_gradient_based_update(self, *, timesteps: Mapping[str, Any]) -> None:
        """Moves learning rates and entropy_coeff along their schedules, for the next update."""
        super().after_gradient_based_update(timesteps=timesteps)
        self.updater.entropy_coeff = self._entropy_coeff.update(timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0))
        self.metrics.log_value((DEFAULT_MODULE_ID, "curr_entropy_coeff"), self.updater.entropy_coeff, window=1)

    def compute_loss_for_module(self, **kwargs: Any) -> torch.Tensor:
        """Refuses: RLlib's own loop, which would ask, does not run; `update` is the Updater's."""
        raise NotImplementedError("The loss is computed by `updating.updater.Updater`.")

    def gather_state(self) -> None:
        """Makes the full state of sharded learners, all of which must be asked at once; rank 0 keeps it."""
        state = super().get_state()
        self._full_state = state if is_rank_0() else {}

    def drop_state(self) -> None:
        """Forgets what `gather_state` made."""
        self._full_state = None

    def get_state(
        self, components: Any = None, *, not_components: Any = None, inference_only: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Returns RLlib's state, how many updates the weights have had, and where entropy_coeff stands.

        Nothing if it is asked for inference alone, as for RLlib's env runners: engines have theirs by the WeightLink.

        Raises:
            RuntimeError: If the learners are sharded and their state was not gathered: it would take all of them.
        """
        if inference_only:
            return {}
        if not self.config.fully_shard:
            state = super().get_state(components, not_components=not_components, **kwargs)
        elif self._full_state is None:
            raise RuntimeError("The learners are sharded: ask the algorithm for its state, which gathers theirs first.")
        else:
            wanted = {name.partition("/")[0] for name in force_list(components)}
            state = {
                name: part
                for name, part in self._full_state.items()
                if (not wanted or name in wanted) and name not in force_list(not_components)
            }
        return {
            **state,
            _POLICY_VERSION: self.updater.policy_version,
            _ENTROPY_COEFF: self.updater.entropy_coeff,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Loads what `get_state` returned; also weights older than the present ones, which RLlib would leave out."""
        super().set_state({**state, WEIGHTS_SEQ_NO: 0})
        if _POLICY_VERSION in state:
            self.updater.policy_version = state[_POLICY_VERSION]
        if _ENTROPY_COEFF in state:
            self.updater.entropy_coeff = state[_ENTROPY_COEFF]

    @property
    def _scorer(self) -> Scorer:
        return self.module[DEFAULT_MODULE_ID].scorer


def update_from_shards(
    learner: GRPOLearner, *, shards: Sequence[TrainingData | ray.ObjectRef], timesteps: Mapping[str, int]
) -> Any:
    """Has a learner update from its rank's share of the rows; returns its metrics."""
    shard = shards[rank()]
    rows = ray.get(shard) if isinstance(shard, ray.ObjectRef) else shard
    return learner.update(training_data=rows, timesteps=timesteps)
