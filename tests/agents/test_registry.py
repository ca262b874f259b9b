"""Agents by name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest

import agents
from agents import registry
from agents.scripted_agent import ScriptedAgent


@pytest.fixture(autouse=True)
def unregistered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_registered", {})
    yield


def test_shipped() -> None:
    assert {"transformers", "vllm", "sglang", "scripted"} <= agents.registered().keys()


def test_unknown_names_say_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'transfomers'. Did you mean 'transformers'\? Known: .*scripted"):
        agents.make("transfomers")


def test_registered_names_win() -> None:
    agents.register("vllm", "agents.scripted_agent:ScriptedAgent")
    assert isinstance(agents.make("vllm"), ScriptedAgent)


@pytest.mark.parametrize("target", ["agents.scripted_agent", ":ScriptedAgent", "agents.scripted_agent:"])
def test_targets_of_another_form(target: str) -> None:
    with pytest.raises(ValueError, match=r"expected 'package.module:Class'"):
        agents.register("mine", target)


def test_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("theirs", "agents.scripted_agent:ScriptedAgent", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert isinstance(agents.make("theirs"), ScriptedAgent)


def test_options_reach_the_agent() -> None:
    agent = agents.make("scripted", script=lambda prompt, sample: f"#### {sample}")
    assert agent.act("2 + 2 = ?") == "#### 0"


@pytest.mark.parametrize(
    ("engine", "option", "message"),
    [
        ("scripted", "temprature", r"'scripted' has no option 'temprature'. Its options: model, script, max_model_len"),
        ("transformers", "dtpe", r"no option 'dtpe'. Did you mean 'dtype'\?"),
    ],
)
def test_unknown_options_say_the_known_ones(engine: str, option: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        agents.make(engine, **{option: 1.0})


def test_a_type_error_inside_an_agent_is_its_own() -> None:
    with pytest.raises(TypeError):
        agents.make("scripted", model=["not", "a", "name"])


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_a_missing_engine_says_how_to_install_it(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.engine_process.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=rf"needs the package '{engine}': pip install 'gsm8k-env\[train,{engine}\]'"):
        agents.make(engine)


def test_other_missing_modules_are_not_relabelled() -> None:
    agents.register("broken", "agents.no_such_module:Agent")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        agents.make("broken")


def test_importing_the_package_imports_no_engine() -> None:
    code = "import agents, sys; print(sorted({'torch', 'transformers', 'vllm', 'sglang', 'ray'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
