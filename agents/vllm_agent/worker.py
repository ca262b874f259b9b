"""Runs inside vLLM's workers: `--worker-extension-cls agents.vllm_agent.worker.WeightsExtension`."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from agents.weight_group import WeightChannel


class WeightsExtension:
    """Adds methods to vLLM's worker classes (its option `worker_extension_cls`), to be called by `collective_rpc`.

    Every argument can also be written as JSON, for the server's /collective_rpc. vLLM's own weight transfer speaks NCCL
    and CUDA IPC alone and leaves out what its CPU backend needs; here one path serves both.
    """

    # Of the worker class that vLLM mixes this one into.
    model_runner: Any
    reload_weights: Any
    rank: int
    device: torch.device
    _weight_channel: WeightChannel | None = None

    def load_policy_weights(self, folder: str) -> None:
        """Loads the weights in `folder`/model.safetensors, which have Hugging Face names."""
        from safetensors.torch import load_file

        self._load(load_file(Path(folder) / "model.safetensors").items())

    def open_policy_weights(self, payloads: list[str]) -> None:
        """Loads the weights behind this worker's handles, in base64."""
        from agents.tensor_handles import opened

        self._load(opened(base64.b64decode(payloads[self.rank])))

    def worker_rank(self) -> int:
        """Returns this worker's rank among those that hold the model."""
        return self.rank

    def join_weight_group(self, group: dict[str, Any]) -> None:
        """Joins the learner's group."""
        from agents.weight_group import WeightChannel
        from agents.weight_transfer import WeightGroup

        if self._weight_channel is not None:
            self._weight_channel.close()
        joined = WeightGroup(**group)
        self._weight_channel = WeightChannel(joined, joined.first_rank + self.rank)

    def receive_policy_weights(self, specs: list[tuple[str, str, list[int]]]) -> None:
        """Loads the weights that the learner broadcasts: name, dtype and shape of each, in their order."""
        from agents.weight_transfer import TensorSpec

        if self._weight_channel is None:
            raise RuntimeError("This worker is in no weight group.")
        expected = [TensorSpec(name=name, dtype=dtype, shape=tuple(shape)) for name, dtype, shape in specs]
        self._load(self._weight_channel.receive(expected, self.device))

    def _load(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Loads weights that have Hugging Face names.

        vLLM's `reload_weights` goes through the checkpoint's own format, the only one its CPU backend takes: there the
        layers hold repacked weights. It leaves out one copy: an output layer that is tied to the embeddings has no
        weights of its own to load, and its packed copy stays the old one (vLLM 0.32). So that is packed anew.
        """
        from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
        from vllm.platforms import current_platform

        self.reload_weights(weights_iterator=iter(weights))
        if current_platform.is_cpu():
            for layer in self.model_runner.get_model().modules():
                if isinstance(layer, ParallelLMHead):
                    layer.quant_method.process_weights_after_loading(layer)
