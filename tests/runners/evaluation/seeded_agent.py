"""An agent whose completions follow from their seeds, as a sampling engine's do; it can be killed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from agents import Completion, SamplingParams
from agents.scripted_agent import ScriptedAgent
from agents.seeds import prompt_seeds

FORMS = ("#### {}", "The answer is {}.", "{} and so on", r"so \boxed{{{}}}", "no idea")


class SeededAgent(ScriptedAgent):
    """Draws a small number and a form of words for each completion; after a few-shot text it goes on to ask.

    Args:
        model: Whose tokenizer to use.
        max_model_len: Most tokens of prompt and completion.
    """

    # The tests reach the agents that a command line makes through the class.
    made: ClassVar[list[SeededAgent]] = []
    # `generate` raises KeyboardInterrupt at the call after this many, as a Ctrl-C there would.
    max_calls: ClassVar[int | None] = None

    def __init__(self, model: str = "tiny", *, max_model_len: int = 1024) -> None:
        super().__init__(model, max_model_len=max_model_len)
        self.calls: list[SamplingParams] = []
        self.made.append(self)

    def generate(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[list[Completion]]:
        """Returns completions that depend on their seeds: that of the prompt plus their number."""
        if len(self.calls) == self.max_calls:
            raise KeyboardInterrupt
        self.calls.append(params)
        groups = []
        for prompt, seed in zip(prompt_token_ids, prompt_seeds(params.seed, len(prompt_token_ids)), strict=True):
            assert seed is not None
            tail = " Question: 4 Q: 5" if self.decode(prompt).endswith(("Answer:", "A:")) else ""
            rngs = [random.Random(seed + number) for number in range(params.n)]
            texts = [rng.choice(FORMS).format(rng.randint(1, 12)) + tail for rng in rngs]
            self.script = lambda prompt_text, sample, texts=tuple(texts): texts[sample]  # type: ignore[misc]
            groups += super().generate([prompt], replace(params, seed=(seed,)))
        return groups
