"""The scripted agent: completions from a function of the prompt, with the interface of a real engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from agents.base import Completion, SamplingParams
from agents.engine_output import engine_output
from agents.models import resolve_model
from agents.stop_text import tokens_to_stop
from agents.text import TextAgent, check_prompts
from agents.values import AtLeast1

if TYPE_CHECKING:
    import torch


def _echo(prompt: str, sample: int) -> str:
    return "#### 0"


class ScriptedAgent(TextAgent):
    """Answers each prompt with `script(prompt_text, sample_number)`; every token has log-probability 0 (certain).

    Args:
        model: Whose tokenizer to use; its weights are not loaded.
        script: Function of the prompt's text and the number of the sample (0 to n-1).
        max_model_len: Most tokens of prompt and completion.
    """

    def __init__(
        self,
        model: str = "tiny",
        *,
        script: Callable[[str, int], str] = _echo,
        max_model_len: AtLeast1 = 1024,
    ) -> None:
        super().__init__(resolve_model(model), max_model_len=max_model_len)
        self.script = script
        self.weights: dict[str, torch.Tensor] = {}

    def generate(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[list[Completion]]:
        """Returns the scripted completions, cut at `params.max_tokens`, at a stop, or at the context's end."""
        check_prompts(prompt_token_ids, params.seed, self.max_model_len)
        return [[self._complete(prompt, sample, params) for sample in range(params.n)] for prompt in prompt_token_ids]

    def update_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], policy_version: int) -> None:
        """Keeps the weights, for a test to look at."""
        self.weights = {name: tensor.clone() for name, tensor in named_tensors}
        self.policy_version = policy_version

    def _complete(self, prompt: Sequence[int], sample: int, params: SamplingParams) -> Completion:
        text = self.script(self.decode(prompt), sample)
        ids = [*self.tokenizer(text, add_special_tokens=False)["input_ids"], self.end_token_ids[0]]
        stops = {*self.end_token_ids, *params.stop_token_ids}
        end = next(i for i, token in enumerate(ids) if token in stops) + 1
        end = tokens_to_stop(self.tokenizer, ids[:end], params.stop) or end
        room = min(params.max_tokens, self.max_model_len - len(prompt))
        ids = ids[: min(end, room)]
        output = engine_output(ids, [0.0] * len(ids), "stop" if end <= room else "length")
        return self.completions([output], params.stop)[0]
