"""What the doctor found: a line each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        name: What was looked at.
        state: "wrong" keeps training from working; a "note" is for whoever wants what it names.
        found: What is there, or what is not.
        mend: The command or the change that mends it; empty where all is well.
    """

    name: str
    state: State
    found: str
    mend: str = ""

    def line(self) -> str:
        """Returns it as a line.

        >>> Finding(name="torch", state="wrong", found="not installed", mend="pip install 'gsm8k-env[train]'").line()
        "wrong  torch          not installed. Mend: pip install 'gsm8k-env[train]'"
        """
        mend = f". {'Mend' if self.state == 'wrong' else 'For it'}: {self.mend}" if self.mend else ""
        return f"{self.state:<5}  {self.name:<13}  {self.found}{mend}"
