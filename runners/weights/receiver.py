"""The engine's side of a weight transfer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch

from agents import Agent
from agents.tensor_handles import gpu_uuid
from agents.weight_loader import Sleeper, WeightLoader, WeightPart, load_weights
from agents.weight_sources import WeightSource
from agents.weights import TensorSpec
from runners.weights.paths import EnginePlace


class WeightReceiver:
    """Takes weights for an agent.

    Args:
        agent: Any; one that is no `WeightLoader` takes arrays alone.
        node: Name of this machine.
        remote: Whether its engine is a server, which may run anywhere.
        loading: Weights are taken within it: it holds back whoever uses the agent meanwhile.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        node: str = "",
        remote: bool = False,
        loading: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._agent, self._node, self._remote, self._loading = agent, node, remote, loading

    def place(self, specs: Sequence[TensorSpec]) -> EnginePlace:
        """Returns where the engine is and what weights it takes.

        Args:
            specs: The weights to come.

        Raises:
            ValueError: For weights that do not fit the engine's model, where the agent can tell.
        """
        loader = self._agent if isinstance(self._agent, WeightLoader) else None
        if loader is not None:
            loader.check_weights(specs)
        return EnginePlace(
            node=self._node,
            gpus=tuple(gpu_uuid(index) for index in range(torch.cuda.device_count())),
            remote=self._remote,
            transfers=loader.weight_transfers if loader is not None else (),
            num_workers=loader.num_workers() if loader is not None else 1,
        )

    def load(self, source: WeightSource, policy_version: int) -> None:
        """Has the agent take weights; handles and broadcasts travel on unopened to where the engine is."""
        with self._loading():
            load_weights(self._agent, source, policy_version)

    def sleep(self) -> None:
        """Has the engine free its memory."""
        cast(Sleeper, self._agent).sleep()

    def wake_up(self, part: WeightPart) -> None:
        """Has the engine take memory again."""
        cast(Sleeper, self._agent).wake_up(part)
