"""Runs inside vLLM's workers: `--worker-extension-cls agents.vllm_agent.worker.WeightsExtension`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class WeightsExtension:
    """Adds a method to vLLM's worker classes (its option `worker_extension_cls`), to be called by `collective_rpc`.

    vLLM's own weight transfer speaks NCCL and CUDA IPC alone and leaves out what its CPU backend needs; here one path
    serves both.
    """

    # Of the worker class that vLLM mixes this one into.
    model_runner: Any
    reload_weights: Any
    rank: int

    def load_weights(self, source: Mapping[str, Any]) -> None:
        """Loads weights that have Hugging Face names, from a source as `agents.weight_sources.to_json` writes it.

        vLLM's `reload_weights` goes through the checkpoint's own format, the only one its CPU backend takes: there the
        layers hold repacked weights. It leaves out one copy: an output layer that is tied to the embeddings has no
        weights of its own to load, and its packed copy stays the old one (vLLM 0.32). So that is packed anew.
        """
        from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
        from vllm.platforms import current_platform

        from agents.weight_sources import from_json

        self.reload_weights(weights_iterator=from_json(source).tensors(self.rank))
        if current_platform.is_cpu():
            for layer in self.model_runner.get_model().modules():
                if isinstance(layer, ParallelLMHead):
                    layer.quant_method.process_weights_after_loading(layer)
