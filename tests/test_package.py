"""What a package page and a citation say is what the package is."""

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["project"]["version"]
    assert citation["license"] == PROJECT["project"]["license"]


def test_every_package_is_typed_and_in_the_wheel():
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert packages == ["gsm8k_env", "agents", "runners", "gsm8k_cli"]
    assert PROJECT["tool"]["importlinter"]["root_packages"] == packages
    assert all((ROOT / package / "py.typed").is_file() for package in packages)


def test_the_templates_name_the_checks():
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    template = (ROOT / ".github" / "pull_request_template.md").read_text(encoding="utf-8")
    for check in ("ruff check . && ruff format --check .", "mypy", "lint-imports", "pytest -n auto"):
        assert check in template and check in contributing
