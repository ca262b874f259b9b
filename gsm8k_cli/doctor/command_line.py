"""The command line of `gsm8k-doctor` and `python runners/doctor.py`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NoReturn

from gsm8k_cli.doctor import data, machine, packages
from gsm8k_cli.doctor.finding import Finding
from gsm8k_cli.doctor.probe import MODULES, probe
from gsm8k_cli.doctor.requirements import installed_version

DESCRIPTION = """Looks at what training needs: a line each says what is there, or what is wrong and how to mend it.

The exit code is 1 where a line says "wrong". A line that says "note" is for whoever wants what it names. It takes some
seconds, of which the most are for importing torch and transformers, and starts or changes nothing.
"""


class _Parser(argparse.ArgumentParser):
    """`runners.support.parser.OneLineParser`, which may not be there."""

    def error(self, message: str) -> NoReturn:
        """Exits with 2."""
        self.exit(2, f"error: {message} (it takes no options but --help)\n")


def examine() -> Iterator[Finding]:
    """Yields what is found, in the order in which one thing needs the other."""
    yield from packages.python()
    yield from packages.own()
    yield from data.environment()
    imported = probe([name for name in MODULES if installed_version(name)])
    yield from packages.training(imported.errors)
    yield from packages.engines()
    yield from machine.gpus(imported.gpus)
    yield from machine.shared_memory()
    yield from machine.ports()
    yield from data.hub()
    yield from data.data()


def main(argv: list[str] | None = None) -> int:
    """Prints a line for each finding; returns 1 where something that training needs is wrong, else 0."""
    parser = _Parser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(argv)
    wrong = 0
    for finding in examine():
        print(finding.line(), flush=True)
        wrong += finding.state == "wrong"
    print(f"Training will not work: {wrong} wrong." if wrong else "Everything that training needs is here.")
    return int(wrong > 0)
