"""What the comparison asks of an entry, and how an entry says how far it got."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _counted_env import COUNTED, read_counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One training run. An entry is a function `train(task) -> folder` of a Hugging Face policy.

    What is played in `env` is counted, whoever plays it: `tokens()` says how many tokens were generated so far, and an
    entry stops once they are `token_budget`. The sizes and the rate are those of the shipped entries; another entry may
    use its own.

    Attributes:
        env: For `gym.make(task.env, **task.env_options)`: a text environment with the training problems. Its
            observations are user messages, its actions whole completions.
        env_options: What `gym.make` gets beside the id.
        model: Folder of the model to begin with.
        folder: To work in; it goes once the run is scored.
        seed: Of whatever is random.
        token_budget: Generated tokens.
        curve: Tokens at which the policy is wanted on the way, the last one the budget.
        num_prompts, group_size, minibatch_size, num_epochs: Problems of a step, completions of each, completions of an
            optimizer step, and how often a batch is used.
        max_prompt_tokens, max_tokens: Limits of prompt and completion.
        lr: Learning rate.
        threads: Torch threads.
    """

    env: str
    env_options: Mapping[str, Any]
    model: Path
    folder: Path
    seed: int
    token_budget: int
    curve: tuple[int, ...]
    num_prompts: int
    group_size: int
    minibatch_size: int
    num_epochs: int
    max_prompt_tokens: int
    max_tokens: int
    lr: float
    threads: int

    def token_env(self, **options: Any) -> tuple[str, dict[str, Any]]:
        """Returns id and options of the same problems token by token, counted as well: an action is a token."""
        more = {"env": "gsm8k_env:GSM8KTokens-v0", "tokenizer": str(self.model), "max_tokens": self.max_tokens}
        return COUNTED, {**self.env_options, **more, **options}

    def tokens(self) -> int:
        """Returns how many tokens were generated in the environment so far, by all processes."""
        return read_counts(self._counts)["tokens"]

    def env_steps(self) -> int:
        """Returns how often the environment was stepped so far."""
        return read_counts(self._counts)["steps"]

    @property
    def policy(self) -> Path:
        """Where the final policy goes: what `due` returns last."""
        return self.folder / "policy"

    def due(self, tokens: int | None = None) -> Path | None:
        """Returns a new folder to save the policy in, once another point of the curve is reached; else None.

        The last one, once the budget is spent, is `policy`.

        Args:
            tokens: Generated so far; None is `tokens()`. An entry that does not play `env` counts for itself.
        """
        tokens = self.tokens() if tokens is None else tokens
        reached = max((point for point in self.curve if point <= tokens), default=None)
        if reached is None:
            return None
        folder = self.policy if tokens >= self.token_budget else self.folder / "points" / f"{reached:09d}"
        if folder.exists():
            return None
        folder.mkdir(parents=True)
        folder.with_suffix(".tokens").write_text(str(tokens))
        return folder

    def points(self) -> dict[int, Path]:
        """Returns tokens -> folder of the policies that were saved on the way."""
        found = sorted((self.folder / "points").glob("*.tokens"))
        return {int(path.read_text()): path.with_suffix("") for path in found}

    def report(self, **facts: Any) -> None:
        """Says what the comparison cannot see.

        Args:
            **facts: `diverged="reason"`; `labels="solutions"`, where more is used than rewards; `steps`; `tokens`,
                where `env` is not played. They go over earlier ones.
        """
        (self.folder / "facts.json").write_text(json.dumps({**self.reported(), **facts}), encoding="utf-8")

    def reported(self) -> dict[str, Any]:
        """Returns what `report` was told, in whatever process."""
        path = self.folder / "facts.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def write(self) -> Path:
        """Writes it as JSON into its folder, for other processes; returns the file."""
        path = self.folder / "task.json"
        path.write_text(json.dumps(asdict(self), default=str), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> Task:
        """Returns what `write` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        values |= {name: Path(values[name]) for name in ("model", "folder")}
        return cls(**{**values, "curve": tuple(values["curve"])})

    @property
    def _counts(self) -> Path:
        return Path(self.env_options["counts"])
