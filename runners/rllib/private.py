"""The private names of RLlib that are overridden here, a reason each; everything else is its public interface.

A test compares them with the installed RLlib, so that an upgrade which renames one fails by its name.
"""

from __future__ import annotations

from typing import Any

# What RLlib takes for "not given": a setting of this value is left out of a configuration, and the default comes in its
# place. The number is nowhere public.
from ray._common.deprecation import DEPRECATED_VALUE

__all__ = ["DEPRECATED_VALUE", "BareModules", "OneSetOfEngines"]


class BareModules:
    """Of a learner: keeps RLlib from wrapping the module in DistributedDataParallel where there are several learners.

    DDP averages gradients in each backward pass; the Updater sums them once a step over micro-batches and ranks.
    """

    def _make_modules_ddp_if_necessary(self) -> None:
        """Leaves the modules bare."""


class OneSetOfEngines:
    """Of an algorithm: keeps RLlib from making env runners for evaluation alone.

    A second set of engines would hold a second copy of the model; evaluation samples on the training one.
    """

    @classmethod
    def _should_create_evaluation_env_runners(cls, eval_config: Any) -> bool:
        """Never."""
        return False
