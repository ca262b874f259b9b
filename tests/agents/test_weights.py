"""Weights are checked, then written where every engine can read them."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from agents.weights import check_specs, weights_folder
from tests.agents.learner_side import specs_of

SHAPES = {"a": (2, 3), "b": (4,)}


def weights() -> dict[str, torch.Tensor]:
    return {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}


def test_weights_that_fit_pass() -> None:
    check_specs(specs_of(weights()), SHAPES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c": torch.ones(1)}, "c: not a parameter of this model"),
        ({"a": torch.ones(3, 2)}, r"a: shape \(3, 2\), the model has \(2, 3\)"),
        ({"b": torch.ones(4, dtype=torch.int64)}, "b: dtype int64 is not floating-point"),
    ],
)
def test_faults_are_named(change: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=f"nothing was changed: {message}"):
        check_specs(specs_of({**weights(), **change}), SHAPES)


def test_missing_and_repeated_names() -> None:
    a, b = specs_of(weights())
    with pytest.raises(ValueError, match="b: missing"):
        check_specs([a], SHAPES)
    with pytest.raises(ValueError, match="a: given twice"):
        check_specs([a, b, a], SHAPES)


def test_many_faults_are_cut_short() -> None:
    with pytest.raises(ValueError, match="and 7 more"):
        check_specs(specs_of({str(i): torch.ones(1) for i in range(10)}), SHAPES)


def test_the_file_holds_what_was_given_and_is_gone_afterwards() -> None:
    given = [("a", weights()["a"].t()), ("b", weights()["b"].requires_grad_())]
    with weights_folder(given) as folder:
        loaded = load_file(folder / "model.safetensors")
    assert loaded.keys() == {"a", "b"}
    assert torch.equal(loaded["a"], weights()["a"].t())
    assert loaded["b"].dtype == torch.bfloat16
    assert not folder.exists()


def test_tmpdir_chooses_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with weights_folder(list(weights().items())) as folder:
        assert folder.parent == tmp_path


def test_too_little_memory_means_the_ordinary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with weights_folder(list(weights().items())) as folder:
        assert folder.parent == tmp_path
