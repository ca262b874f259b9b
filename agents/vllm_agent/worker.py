"""Runs inside vLLM's workers: `--worker-extension-cls agents.vllm_agent.worker.WeightsExtension`."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class WeightsExtension:
    """Adds a method to vLLM's worker classes (its option `worker_extension_cls`), to be called by `collective_rpc`."""

    # Of the worker class that vLLM mixes this one into.
    model_runner: Any
    reload_weights: Any

    def load_policy_weights(self, folder: str) -> None:
        """Loads the weights in `folder`/model.safetensors, which have Hugging Face names.

        vLLM's `reload_weights` goes through the checkpoint's own format, the only one its CPU backend takes: there the
        layers hold repacked weights. It leaves out one copy: an output layer that is tied to the embeddings has no
        weights of its own to load, and its packed copy stays the old one (vLLM 0.32). So that is packed anew.
        """
        from safetensors.torch import load_file
        from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
        from vllm.platforms import current_platform

        weights = load_file(Path(folder) / "model.safetensors")
        self.reload_weights(weights_iterator=iter(weights.items()))
        if current_platform.is_cpu():
            for layer in self.model_runner.get_model().modules():
                if isinstance(layer, ParallelLMHead):
                    layer.quant_method.process_weights_after_loading(layer)
