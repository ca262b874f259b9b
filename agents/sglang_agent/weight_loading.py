"""Weights in SGLang's words; the engine's methods and the server's paths have the same names and arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agents.http_client import MissingEndpointError
from agents.weight_group import WeightGroup
from agents.weight_sources import Handles, RemoteWeights, WeightsFile

# The options whose product is the number of processes that hold the model.
SIZES = ("tp_size", "pp_size", "dp_size")


class WeightLoading:
    """Loads weights into an engine or a server, which is in one weight group at a time.

    Args:
        call: Makes one of SGLang's calls, by name and with keyword arguments, and raises where it fails: a
            `MissingEndpointError` where this SGLang has no such call.
    """

    def __init__(self, call: Callable[[str, dict[str, Any]], object]) -> None:
        self._call = call
        self._group_name: str | None = None

    def load(self, source: RemoteWeights) -> None:
        """Loads the weights; SGLang drops its radix cache with it. Raises what the call does."""
        if isinstance(source, WeightsFile):
            self._call("update_weights_from_disk", {"model_path": source.folder})
        elif isinstance(source, Handles):
            self._update("update_weights_from_tensor", {"serialized_named_tensors": list(source.payloads)})
        else:
            if source.group.name != self._group_name:
                self._join(source.group)
            fields = {f"{name}s": [getattr(spec, name) for spec in source.specs] for name in ("name", "dtype", "shape")}
            self._update("update_weights_from_distributed", {**fields, "group_name": source.group.name})

    def _join(self, group: WeightGroup) -> None:
        left, self._group_name = self._group_name, None
        if left is not None:
            self._call("destroy_weights_update_group", {"group_name": left})
        self._call(
            "init_weights_update_group",
            {
                "master_address": group.address,
                "master_port": group.port,
                "rank_offset": group.first_rank,
                "world_size": group.world_size,
                "group_name": group.name,
                "backend": group.backend,
            },
        )
        self._group_name = group.name

    def _update(self, name: str, arguments: dict[str, Any]) -> None:
        try:
            self._call("begin_weight_update", {})
        except MissingEndpointError:  # SGLang 0.5.20 and older
            self._call(name, arguments)
            return
        try:
            self._call(name, arguments)
        finally:
            # An update left open refuses every later one.
            self._call("end_weight_update", {})
