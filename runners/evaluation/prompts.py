r"""The prompts by name: chat messages with an instruction, and few-shot texts for a model that goes on writing.

- `chat-hash`, `chat-boxed`, `chat-none`: the environment's observation with that instruction, as a user's message. A
  text of more than one word is an instruction of its own.
- `fewshot-K`: K training problems with their official solutions, then the question; no chat template. The layout of
  lm-evaluation-harness's task gsm8k (https://github.com/EleutherAI/lm-evaluation-harness/tree/main/lm_eval/tasks/gsm8k).
- `fewshot-cot-K`: K of the eight worked examples; the layout of its task gsm8k_cot.
- `environment`: the text of an environment other than GSM8K-v0, as it is.

A few-shot text ends a completion where the model begins the next question: a stop text, which the engine looks for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from gsm8k_env.choices import check_choice
from gsm8k_env.problems import load_problems
from gsm8k_env.prompts import INSTRUCTIONS, instruction_text, join_prompt
from runners.evaluation.worked_examples import WORKED_EXAMPLES, Example

MAX_EXAMPLES = 32
ENVIRONMENT = "environment"
"""The prompt that is an environment's own text, and the grading mode that is its own verdict."""
# The end tokens that a model may write out as text, as the harness has them.
_END_TEXTS = ("</s>", "<|im_end|>")
_FEW_SHOT = re.compile(r"fewshot(?P<cot>-cot)?-(?P<count>\d{1,3})")
_NAMES = (*(f"chat-{name}" for name in INSTRUCTIONS), "fewshot-5", "fewshot-cot-8", ENVIRONMENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptStyle:
    """How a question is put, without the examples.

    Attributes:
        name: The option's value.
        instruction: The environment's `instruction` option; None leaves the environment its own text.
        num_examples: Worked examples before the question; 0 is a chat prompt.
        labels: What stands before the question and before the answer, in a few-shot text.
        stop: A completion is cut at the first of these texts.
        grading: The modes to grade by, those the prompt asks for first.
    """

    name: str
    instruction: str | None
    num_examples: int = 0
    labels: tuple[str, str] = ("", "")
    stop: tuple[str, ...] = ()
    grading: tuple[str, ...] = ("strict", "flexible")

    @property
    def own_examples(self) -> bool:
        """Whether the examples are those of this package, not training problems."""
        return self.labels[0] == "Q:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A style with its examples.

    Attributes:
        style: The style.
        examples: [num_examples] the worked examples; one more where the questions may be among them.
    """

    style: PromptStyle
    examples: tuple[Example, ...] = ()

    @property
    def is_chat(self) -> bool:
        """Whether the text is a user's message, for the model's chat template."""
        return self.style.num_examples == 0

    def render(self, observation: str) -> str:
        """Returns the text for an observation; an example that asks the same question gives way to the spare one."""
        if self.is_chat:
            return observation
        ask, answer = self.style.labels
        examples = [example for example in self.examples if example.question != observation]
        shots = [f"{ask} {e.question}\n{answer} {e.answer}\n\n" for e in examples[: self.style.num_examples]]
        return "".join(shots) + f"{ask} {observation}\n{answer}"


def prompt_style(name: str) -> PromptStyle:
    """Returns the style of a prompt's name, or of an instruction's text.

    Raises:
        ValueError: If there is no such name; the message lists them.
    """
    if name == ENVIRONMENT:
        return PromptStyle(name=name, instruction=None, grading=(ENVIRONMENT,))
    if few_shot := _FEW_SHOT.fullmatch(name):
        return _few_shot_style(name, int(few_shot["count"]), bool(few_shot["cot"]))
    if re.search(r"\s", name):
        instruction = name
    else:
        instruction = check_choice("--prompt (or give a text of more than one word)", name, _NAMES)
        instruction = instruction.removeprefix("chat-")
    boxed = ("boxed",) if r"\boxed" in instruction_text(instruction) else ()
    return PromptStyle(name=name, instruction=instruction, grading=(*boxed, "strict", "flexible"))


def make_prompt(style: PromptStyle, *, dataset: str, seed: int) -> Prompt:
    """Returns the style with its examples: the worked ones, or training problems of `dataset` drawn by `seed`.

    Raises:
        ValueError: If the data set has no training split, or one that is too small.
    """
    if not style.num_examples:
        return Prompt(style=style)
    if style.own_examples:
        return Prompt(style=style, examples=WORKED_EXAMPLES[: style.num_examples])
    return Prompt(style=style, examples=_training_examples(dataset, style.num_examples + 1, seed))


def prompt_template(prompt: Prompt) -> str:
    """Returns the prompt's text with `{question}` in the question's place; before any chat template."""
    if prompt.style.instruction is None:
        return "{observation}"
    if prompt.is_chat:
        return join_prompt("{question}", instruction_text(prompt.style.instruction))
    return prompt.render("{question}")


def _few_shot_style(name: str, count: int, chain_of_thought: bool) -> PromptStyle:
    most = len(WORKED_EXAMPLES) if chain_of_thought else MAX_EXAMPLES
    if not 1 <= count <= most:
        raise ValueError(f"--prompt {name}: the number of examples must be from 1 to {most}.")
    labels = ("Q:", "A:") if chain_of_thought else ("Question:", "Answer:")
    return PromptStyle(
        name=name,
        instruction="none",
        num_examples=count,
        labels=labels,
        stop=(labels[0], *_END_TEXTS),
        grading=("phrase", "strict", "flexible") if chain_of_thought else ("strict", "flexible"),
    )


def _training_examples(dataset: str, count: int, seed: int) -> tuple[Example, ...]:
    problems = load_problems("train", dataset)
    if len(problems) < count:
        raise ValueError(
            f"{problems.dataset} has {len(problems)} training problems, but the prompt takes {count}: use a data set "
            "with more, or fewer examples (--prompt fewshot-K)."
        )
    chosen = np.random.default_rng(seed).choice(len(problems), size=count, replace=False)
    return tuple(Example(problems[int(i)].question, problems[int(i)].solution) for i in chosen)
