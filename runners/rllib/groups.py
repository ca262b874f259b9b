"""Where a GRPO step's groups come from."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

from runners.asynchrony.source import AsynchronousGroups
from runners.rllib.evaluation import all_dropped
from runners.rllib.workers import WorkerLost
from runners.sampling.refills import StepSample
from runners.sampling.synchronous import SynchronousGroups


class Groups(Protocol):
    """A source of groups, one step after another."""

    def next(self) -> StepSample:
        """Returns the groups of the next step."""
        ...

    def get_state(self) -> Any:
        """Returns what `set_state` needs to go on from here."""
        ...

    def set_state(self, state: Any) -> None:
        """Goes on from `get_state`."""
        ...


def groups_of(algo: Any) -> Groups:
    """Returns the source that `max_staleness` asks for."""
    config = algo.config
    too_long = partial(all_dropped, config.max_prompt_tokens)
    if not config.max_staleness:
        return SynchronousGroups(
            lambda problems: algo.sample(problems, config.sampling_params(), "train"),
            algo.problems,
            num_prompts=config.num_prompts,
            max_refills=config.max_refills if config.dynamic_sampling else 0,
            too_long=too_long,
        )
    return AsynchronousGroups(
        algo.samplers,
        algo.problems,
        lambda problems: algo.request(problems, config.sampling_params(), "train"),
        num_prompts=config.num_prompts,
        max_staleness=config.max_staleness,
        timeout_s=config.sample_timeout_s,
        restore=algo.restore_and_deliver,
        policy_version=lambda: algo.policy_version,
        too_long=too_long,
        lost=WorkerLost,
    )
