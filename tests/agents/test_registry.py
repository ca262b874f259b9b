"""Agents by name."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Literal

import pytest

import agents
from agents import registry
from agents.scripted_agent import ScriptedAgent

ENGINES = ("vllm", "sglang")
SHIPPED = ("transformers", *ENGINES, "scripted")


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


NOT_AN_INT = "an int >= 1"
DTYPES = "one of 'auto', 'float32', 'bfloat16', 'float16'"
SECONDS = "a number > 0 and <= 1e9"


@pytest.mark.parametrize(
    ("engine", "option", "value", "allowed"),
    [
        *((engine, "max_model_len", value, NOT_AN_INT) for engine in SHIPPED for value in ("abc", 0, 2.5, True, [1])),
        *((engine, "model", 3, "a text") for engine in SHIPPED),
        *((engine, "dtype", "half", DTYPES) for engine in SHIPPED if engine != "scripted"),
        *((engine, "trust_remote_code", "no", "True or False") for engine in SHIPPED if engine != "scripted"),
        *((engine, "sampling", 3, "an instance of SamplingParams, or None") for engine in SHIPPED[:3]),
        ("transformers", "device", "gpu", 'a text such as "auto", "cpu", "cuda" or "cuda:1"'),
        ("transformers", "max_batch_tokens", None, NOT_AN_INT),
        ("scripted", "script", "print", "a function"),
        *((engine, "timeout_s", value, SECONDS) for engine in ENGINES for value in ("soon", 0, 1e300, math.nan)),
        *((engine, "start_timeout_s", -1, SECONDS) for engine in ENGINES),
        *((engine, "url", "nowhere", "a text that begins with http:// or https://, or None") for engine in ENGINES),
        *((engine, "enable_sleep_mode", "yes", "True or False") for engine in ENGINES),
    ],
)
def test_a_value_that_an_option_cannot_have(engine: str, option: str, value: object, allowed: str) -> None:
    with pytest.raises(ValueError) as error:
        registry.find(engine, **{option: value})
    assert str(error.value).startswith(f"The agent {engine!r} has the option {option}={value!r}, but it must be ")
    assert allowed in str(error.value)


def test_the_shipped_agents_take_their_own_defaults() -> None:
    for engine in SHIPPED:
        parameters = inspect.signature(registry.find(engine)).parameters.values()
        registry.find(engine, **{p.name: p.default for p in parameters if p.default is not p.empty})


class Theirs:
    """An agent of someone else's: what annotations do not tell is its own to check."""

    def __init__(self, folder: Path, weights: Mapping[str, int], level: Literal["low", "high"] = "low") -> None:
        raise TypeError("its own")


class OnlyForAChecker:
    def __init__(self, model: NotImported) -> None:  # noqa: F821
        pass


def test_options_of_an_agent_of_ones_own() -> None:
    agents.register("theirs", f"{__name__}:Theirs")
    agents.register("checker", f"{__name__}:OnlyForAChecker")
    assert registry.find("theirs", folder="a/b", weights=3) is Theirs
    assert registry.find("checker", model=3) is OnlyForAChecker
    with pytest.raises(ValueError, match="level='middle', but it must be one of 'low', 'high'"):
        registry.find("theirs", level="middle")


def test_a_type_error_inside_an_agent_is_its_own() -> None:
    agents.register("theirs", f"{__name__}:Theirs")
    with pytest.raises(TypeError, match="its own"):
        agents.make("theirs", folder="a", weights={})


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"device='cuda:99', but torch sees \d+ GPUs here"):
        agents.make("transformers", device="cuda:99")


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
