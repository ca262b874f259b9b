"""Loads a causal language model in the type that suits its device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from agents.values import Allowed

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CPU = torch.device("cpu")


def _is_device(name: str) -> bool:
    try:
        return name == "auto" or torch.device(name).type in ("cpu", "cuda", "mps", "xpu")
    except RuntimeError:
        return False


DeviceName = Annotated[str, Allowed('such as "auto", "cpu", "cuda" or "cuda:1"', _is_device)]


def choose_device(device: str = "auto") -> torch.device:
    """Returns the device asked for; "auto" is the GPU where there is one.

    Raises:
        ValueError: If torch sees no such device here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = torch.device(device)
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={device!r}, but torch sees {torch.cuda.device_count()} GPUs here.")
    return chosen


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Returns the type asked for; "auto" is bfloat16 on a GPU that has it, float32 elsewhere.

    On CPUs without AMX or AVX-512 a bfloat16 matrix product runs hundreds of times slower than a float32 one.

    Raises:
        ValueError: For a name that is neither "auto" nor one of `DTYPES`.
    """
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r} is unknown; allowed are 'auto', {', '.join(map(repr, DTYPES))}.")
    return DTYPES[dtype]


def load_model(
    folder: str | Path,
    *,
    dtype: torch.dtype,
    device: torch.device = CPU,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Loads the model of a folder in evaluation mode (no dropout).

    Raises:
        ValueError: If it cannot be read, or weights of it are missing or have other shapes: transformers would draw
            them at random.
    """
    read: Any = AutoModelForCausalLM.from_pretrained
    options = {"dtype": dtype, "trust_remote_code": trust_remote_code}
    try:
        with _reports_silenced():
            model, found = read(folder, **options, output_loading_info=True, ignore_mismatched_sizes=True)
    except Exception as error:  # the library's readers raise many kinds
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"The model in {folder} cannot be loaded: {first}") from error
    if wrong := sorted({*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])}):
        shown = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise ValueError(
            f"The weights in {folder} are not those of its config.json: missing, or of another shape, are {shown}."
        )
    return model.to(device).eval()


@contextmanager
def _reports_silenced() -> Iterator[None]:
    """Keeps transformers from printing what it found; here it is an error, in one line."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def context_length(folder: str | Path, *, trust_remote_code: bool = False) -> int:
    """Returns the context of a model's folder, in tokens.

    Raises:
        ValueError: If its configuration has none, as that of a model without learned or rotary positions.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code).get_text_config()
    length = getattr(config, "max_position_embeddings", None)
    if length is None:
        raise ValueError(
            f"The config.json of {folder} has no max_position_embeddings, so the model's context is unknown: pass "
            "max_model_len, the most tokens of prompt and completion (on a command line --engine-option "
            "max_model_len=2048)."
        )
    return length


def empty_model(folder: str | Path, *, dtype: torch.dtype, trust_remote_code: bool = False) -> PreTrainedModel:
    """Returns the model of a folder on torch's meta device: its shapes and names, without loading a weight."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=trust_remote_code)
    model.tie_weights()
    return model.eval()


def parameter_shapes(folder: str | Path, *, trust_remote_code: bool = False) -> dict[str, tuple[int, ...]]:
    """Returns name -> shape of every parameter, without loading a weight; tied parameters stand under one name."""
    model = empty_model(folder, dtype=torch.float32, trust_remote_code=trust_remote_code)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
