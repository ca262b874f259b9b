"""Low-rank adapters on a frozen model: LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685), the layers by peft.

Only the adapters are trained, clipped, decayed and checkpointed. To everyone else the policy is what it is without
them: `merged` gives its weights under Hugging Face names, and the frozen model alone is the reference of the KL term.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from transformers import PreTrainedModel

from runners.settings import LoraSettings
from runners.updating.scorer import Scorer

NamedTensor = tuple[str, torch.Tensor]

_BASE, _A, _B = ".base_layer", ".lora_A.default", ".lora_B.default"


def lora_config(lora: LoraSettings, base_model: str) -> LoraConfig:
    """Returns peft's configuration of the settings."""
    assert lora.lora_rank is not None
    targets: Any = lora.lora_targets
    return LoraConfig(
        r=lora.lora_rank,
        lora_alpha=lora.scaling_alpha,  # type: ignore[arg-type]  # peft takes any number
        target_modules=targets if targets == "all-linear" else targets.replace(" ", "").split(","),
        base_model_name_or_path=base_model,
        task_type="CAUSAL_LM",
    )


def add_adapters(model: PreTrainedModel, config: LoraConfig, seed: int) -> None:
    """Freezes a model and puts float32 adapters beside its linear layers, in place; B is zero: nothing changes yet.

    Args:
        model: Any causal language model.
        config: Of peft.
        seed: Decides A, the same on every rank.

    Raises:
        ValueError: For target modules that the model does not have, or that are not linear layers of its blocks.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        if _A in name or _B in name:  # peft gives them the layer's type, in which small updates would be rounded away
            parameter.data = parameter.data.float()
    layers = _adapted(model).values()
    if model.get_output_embeddings() in layers or not all(type(layer) is LoraLinear for layer in layers):
        raise ValueError(
            f"lora_targets={config.target_modules!r} names layers that are not linear layers of the blocks "
            "(embeddings or the head, for instance); 'all-linear' takes all that are."
        )


def base_parameters(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Yields Hugging Face name and parameter of the model without adapters."""
    for name, parameter in model.named_parameters():
        if _A not in name and _B not in name:
            yield name.replace(_BASE, ""), parameter


def merged(model: torch.nn.Module, parameters: Iterable[NamedTensor]) -> Iterator[NamedTensor]:
    """Yields Hugging Face name and tensor of the policy: W + alpha / r * B A where there is an adapter, else W itself.

    Args:
        model: Whose layers know alpha / r.
        parameters: Its parameters by name, in order, whole: W, A and B of a layer follow each other.
    """
    layers = _adapted(model)
    held: dict[str, torch.Tensor] = {}
    for name, tensor in parameters:
        if name.endswith(f"{_BASE}.weight"):
            held["W"] = tensor
        elif _A in name:
            held["A"] = tensor
        elif _B in name:
            layer = layers[name.partition(_B)[0]]
            delta = layer.scaling["default"] * (tensor.float() @ held["A"].float())
            weight = held["W"].float() + (delta.T if layer.fan_in_fan_out else delta)
            yield name.replace(_B, ""), weight.to(held["W"].dtype)
        else:
            yield name.replace(_BASE, ""), tensor


def adapter_weights(parameters: Iterable[NamedTensor]) -> Iterator[NamedTensor]:
    """Yields the adapters' among a model's parameters, under the names of peft's files."""
    for name, tensor in parameters:
        if _A in name or _B in name:
            yield "base_model.model." + name.replace(".default", ""), tensor


def adapter_config(model: torch.nn.Module) -> dict[str, Any]:
    """Returns peft's configuration of a model's adapters, as its adapter_config.json has it."""
    configs: Any = model.peft_config
    settings = configs["default"].to_dict()
    fields = {name: sorted(value) if isinstance(value, set) else value for name, value in settings.items()}
    return {**fields, "inference_mode": True}


def write_adapter(folder: Path, weights: Mapping[str, torch.Tensor], config: LoraConfig) -> None:
    """Writes what `peft.PeftModel.from_pretrained` loads, from what `adapter_weights` yields."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "adapter_model.safetensors")
    config.save_pretrained(str(folder))


class WithoutAdapters:
    """A scorer with its adapters switched off: the policy before its first update, in the same memory.

    Args:
        scorer: Of the policy.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        """Scores as `Scorer.forward` does."""
        with _switched_off(self._scorer.model):
            return self._scorer(*args, **kwargs)


@contextmanager
def _switched_off(model: torch.nn.Module) -> Iterator[None]:
    layers = _adapted(model).values()
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def _adapted(model: torch.nn.Module) -> dict[str, Any]:
    """Returns name -> peft's layer, of every layer with an adapter."""
    return {name: module for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}
