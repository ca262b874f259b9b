"""The scripts that train: what each is called, and which RLlib configuration it runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.names import did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainer:
    """A script of runners/ that trains.

    Attributes:
        name: Of the script; presets and config.yaml have it as `trainer`.
        title: What it does, in a word.
        description: The head of its --help.
        preset: What it runs without options.
        config: "module:class" of its configuration, imported when it is needed, since that imports RLlib.
        algorithms: Whether --algorithm means something to it.
        dumps: Whether it leaves rollouts that `runners/replay.py` could learn from again.
    """

    name: str
    title: str
    description: str
    preset: str
    config: str
    algorithms: bool
    dumps: bool

    @property
    def script(self) -> str:
        """Its path in the repository."""
        return f"runners/{self.name}.py"

    @property
    def command(self) -> str:
        """What starts it: the installed command, where this process is one, else the script of the repository."""
        installed = f"gsm8k-{self.name}"
        return installed if Path(sys.argv[0]).stem == installed else f"python {self.script}"

    @property
    def config_class(self) -> Any:
        """Its AlgorithmConfig."""
        module, _, name = self.config.partition(":")
        return getattr(importlib.import_module(module), name)


GRPO = Trainer(
    name="grpo",
    title="GRPO",
    description="""Trains a language model with GRPO: `python runners/grpo.py`.

Without options it trains the bundled model on built-in problems, which takes a few minutes on two CPU cores.""",
    preset="tiny",
    config="runners.rllib.grpo:GRPOConfig",
    algorithms=True,
    dumps=True,
)
SFT = Trainer(
    name="sft",
    title="SFT",
    description="""Fine-tunes a language model on the solutions of problems: `python runners/sft.py`.

Cross-entropy on the solutions' tokens, a step an optimizer step on num_prompts of them. Without options it trains the
bundled model on built-in problems.""",
    preset="tiny-sft",
    config="runners.rllib.sft:SFTConfig",
    algorithms=False,
    dumps=False,
)
TRAINERS = {trainer.name: trainer for trainer in (GRPO, SFT)}


def trainer_of(settings: Mapping[str, Any]) -> Trainer:
    """Returns the trainer of a run's settings, or of a preset.

    Raises:
        ValueError: For an unknown name.
    """
    name = settings["trainer"]
    if name not in TRAINERS:
        raise ValueError(f"trainer: {name!r}: it must be one of {', '.join(TRAINERS)}.{did_you_mean(name, TRAINERS)}")
    return TRAINERS[name]
