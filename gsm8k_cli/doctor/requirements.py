"""What an installation of this package asks for: read from its metadata, so that no version stands twice."""

from __future__ import annotations

import importlib.metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

DISTRIBUTION = "gsm8k-env"


def installed_version(distribution: str) -> str | None:
    """Returns the version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def python_versions() -> SpecifierSet:
    """Returns the versions of Python that this package is for.

    Raises:
        PackageNotFoundError: If this package is not installed.
    """
    return SpecifierSet(importlib.metadata.metadata(DISTRIBUTION)["Requires-Python"] or "")


def requirements_of(extra: str) -> dict[str, SpecifierSet]:
    """Returns name -> versions of what an extra adds.

    Where it names a package of every installation again, as "train" does numpy, the extra's versions count.

    Raises:
        PackageNotFoundError: If this package is not installed.
    """
    found: dict[str, SpecifierSet] = {}
    for text in importlib.metadata.requires(DISTRIBUTION) or []:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            found[requirement.name] = requirement.specifier
    return found
