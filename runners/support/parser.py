"""The parser of every command line here."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line; the options would be thirty."""

    def error(self, message: str) -> NoReturn:
        """Exits with 2."""
        self.exit(2, f"error: {message} (--help lists the options)\n")


def folder(text: str) -> Path:
    """Returns the folder that an option names, as argparse's `type`.

    Raises:
        argparse.ArgumentTypeError: For the empty text, such as a shell's variable that is not set.
    """
    if not text:
        raise argparse.ArgumentTypeError("'' names no folder; the current one is .")
    return Path(text)
