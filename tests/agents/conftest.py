"""Which engines the contract suite runs on: `pytest tests/agents --engine vllm`, in an environment that has it.

Default: transformers and scripted. An engine's name runs it owned and as a server; "vllm-owned" and "vllm-server" one
of both. Several are separated by commas.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from agents.base import Agent
from agents.transformers_agent import TransformersAgent
from gsm8k_env.builtin import generate
from gsm8k_env.prompts import render_prompt
from tests.agents.engines import made_agent

_EXPANDED = {
    "default": ["transformers", "scripted"],
    "vllm": ["vllm-owned", "vllm-server"],
    "sglang": ["sglang-owned", "sglang-server"],
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engine",
        default=os.environ.get("GSM8K_TEST_ENGINE", "default"),
        help="engines of the contract suite, separated by commas (default: transformers and scripted)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "agent" not in metafunc.fixturenames:
        return
    # The option is unknown where pytest was started above this folder.
    chosen = metafunc.config.getoption("--engine", default="default").split(",")
    names = [name for choice in chosen for name in _EXPANDED.get(choice, [choice])]
    if metafunc.definition.get_closest_marker("weight_transfer") and chosen == ["default"]:
        names.append("transformers-owned")
    if metafunc.definition.get_closest_marker("real_engine"):
        names = [name for name in names if name != "scripted"]
    if metafunc.definition.get_closest_marker("owned_engine"):
        names = [name for name in names if name.endswith("-owned")]
    if not names:
        names = [pytest.param("none", marks=pytest.mark.skip(reason="needs --engine vllm or --engine sglang"))]
    metafunc.parametrize("agent", names, indirect=True, scope="session")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real_engine: needs a model behind the agent, so not the scripted one")
    config.addinivalue_line("markers", "weight_transfer: by default also on transformers in a process of its own")
    config.addinivalue_line("markers", "owned_engine: needs an engine in a process of ours")


@pytest.fixture(scope="session")
def agent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """One agent an engine for the whole session: a start can take a minute."""
    with made_agent(request.param, tmp_path_factory.mktemp("engine")) as made:
        yield made


@pytest.fixture(scope="session")
def engine_name(agent: Agent) -> str:
    """The registered name of the agent under test."""
    return type(agent).__name__.removesuffix("Agent").lower()


@pytest.fixture(scope="session")
def reference() -> TransformersAgent:
    """The model as transformers computes it."""
    return TransformersAgent("tiny", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def prompts(reference: TransformersAgent) -> list[list[int]]:
    """The ids of 200 problems."""
    drafts = generate("test", count=200, seed=1)
    return [reference.encode(render_prompt(draft.question)) for draft in drafts]
