"""An agent whose completions follow from the call's seed and the prompt, as a sampling engine's do; it can be killed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from agents import Completion, SamplingParams
from agents.scripted_agent import ScriptedAgent

FORMS = ("#### {}", "The answer is {}.", "{} and so on", r"so \boxed{{{}}}", "no idea")


class SeededAgent(ScriptedAgent):
    """Draws a small number and a form of words for each completion.

    Args:
        model: Whose tokenizer to use.
        max_calls: `generate` raises KeyboardInterrupt at the call after this many, as a Ctrl-C there would.
        max_model_len: Most tokens of prompt and completion.
    """

    made: list[SeededAgent] = []  # noqa: RUF012  (a test looks at the agents that a command line made)

    def __init__(self, model: str = "tiny", *, max_calls: int | None = None, max_model_len: int = 1024) -> None:
        super().__init__(model, max_model_len=max_model_len)
        self.max_calls = max_calls
        self.calls: list[SamplingParams] = []
        self.made.append(self)

    def generate(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[list[Completion]]:
        """Returns completions that depend on the seed and the place in the call."""
        if len(self.calls) == self.max_calls:
            raise KeyboardInterrupt
        self.calls.append(params)
        rng = random.Random(params.seed)
        groups = []
        for prompt in prompt_token_ids:
            self.script = lambda text, sample: rng.choice(FORMS).format(rng.randint(1, 12)) + " Question: 4 Q: 5"
            groups += super().generate([prompt], replace(params, seed=None))
        return groups
