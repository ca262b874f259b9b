"""Whether an engine runs the learner's weights: both score the same tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import methodcaller
from typing import Any

from runners.settings import EngineSettings
from runners.support.errors import UserError
from runners.updating.batch import padded_columns


def check_delivery(probes: Sequence[Any], updaters: Any, settings: EngineSettings, policy_version: int) -> float:
    """Compares the log-probs of completions as the engines gave them with the learner's.

    Args:
        probes: `Sampler.probe` of each engine.
        updaters: Asked for `rollout_difference`.
        settings: `sync_check_bound` is set.
        policy_version: For the message.

    Returns:
        The mean difference, nats a token.

    Raises:
        UserError: If it is no number: NaN stands in the weights.
        RuntimeError: If it is more than `sync_check_bound`: an engine does not run these weights.
    """
    mean, largest = updaters.ask(methodcaller("rollout_difference", padded_columns(probes)))
    bound = settings.sync_check_bound
    assert bound is not None
    if math.isnan(mean):
        raise UserError(
            f"The log-probs of policy version {policy_version} are NaN: its weights hold NaN or inf. "
            + ("Look at the model's files." if policy_version == 0 else "The run has diverged: lower lr.")
        )
    if not mean <= bound:
        raise RuntimeError(
            f"After the weight sync to policy version {policy_version}, engine {settings.engine!r} and "
            f"learner differ by {mean:.3g} nats a token (largest {largest:.3g}) on a fixed prompt; allowed are "
            f"{bound}. The engine does not run the learner's weights, or in another precision: check its dtype, or "
            "raise agents(sync_check_bound=...)."
        )
    return mean
