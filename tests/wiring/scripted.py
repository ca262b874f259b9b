"""An agent that says what a test wrote down for it and keeps what it was asked, and the environment that it answers.

Both are known to the code under test only as any third party's are: by a Gymnasium id and by a registered name.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import torch
from gymnasium.spaces import Text
from transformers import AutoModelForCausalLM

from agents.base import Completion, SamplingParams
from agents.models import resolve_model
from agents.text import TextAgent
from agents.transformers_agent import TransformersAgent

PRINTABLE = "".join(map(chr, range(32, 127)))
ENV = "tests.wiring.scripted:Verdict-v0"
AGENTS = {  # name -> target
    "recording": "tests.wiring.scripted:RecordingAgent",
    "noisy": "tests.wiring.scripted:NoisyAgent",
    "sleepy": "tests.wiring.scripted:SleepyAgent",
}


def question(number: int, title: str = "Problem") -> str:
    """The text of a problem: the later ones are longer, so that prompts are padded unequally."""
    return f"{title} {number}" + " please" * number


class VerdictEnv(gym.Env[str, str]):
    """The first word of an answer is its reward: "0.5 abc" gets 0.5, "nan" is a reward that could not be computed.

    After an answer that ends in "more" the episode goes on: the environment repeats the answer as its next message.

    Args:
        title: First word of the questions, by which training and evaluation can be told apart.
        num_problems: Problems, each chosen by its index.
        alike: All problems have the same text.
        judges: Whether `info["correct"]` says that the reward is 1.
    """

    observation_space = Text(1000, charset=PRINTABLE)
    action_space = Text(1000, min_length=0, charset=PRINTABLE)

    def __init__(
        self, title: str = "Problem", num_problems: int = 4, alike: bool = False, judges: bool = False
    ) -> None:
        self.title, self.num_problems, self.alike, self.judges = title, num_problems, alike, judges

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        index = options["index"] if options else int(self.np_random.integers(self.num_problems))
        return question(0 if self.alike else index, self.title), {"index": index}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        try:
            reward = float(action.split()[0])
        except (ValueError, IndexError):  # the words of a real model
            reward = 0.0
        info = {"correct": reward == 1} if self.judges else {}
        return f"After {action}", reward, not action.endswith("more"), False, info


gym.register("Verdict-v0", entry_point=VerdictEnv)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of `generate`: what was asked, what was answered, and the version of the weights."""

    prompts: list[tuple[int, ...]]
    params: SamplingParams
    groups: list[list[Completion]]
    policy_version: int


@dataclass(frozen=True, kw_only=True)
class WeightUpdate:
    """One call of `update_weights`."""

    weights: dict[str, torch.Tensor]
    policy_version: int


class RecordingAgent(TextAgent):
    """Answers the user's last message with the next of the answers that `script` has for it.

    Ids: each character is encoded alone, which is not how the tokenizer encodes the text: whoever decodes and encodes
    again gets other ids. An answer ends with the end token, but for one that ends in "..." or is cut by max_tokens.

    Log-probabilities: those of the model with the weights it was given, moved by up to `noise` in a pattern. So they
    differ from the learner's by as much as the test wants, and there is no mistaking the one for the other.

    Args:
        model: A folder.
        script: The user's message -> answers, given out in turn; greedy ones stand under "greedy " + message.
        noise: Nats.
        lag: The policy version returned is that of the weights less this.
    """

    made: ClassVar[list[RecordingAgent]] = []

    def __init__(
        self, model: str, *, script: Mapping[str, Sequence[str]] | None = None, noise: float = 0.5, lag: int = 0
    ) -> None:
        folder = resolve_model(model)
        super().__init__(folder, max_model_len=256)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.script, self.noise, self.lag = script or {}, noise, lag
        self.calls: list[Call] = []
        self.updates: list[WeightUpdate] = []
        self._given: Counter[str] = Counter()
        self.made.append(self)

    def generate(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[list[Completion]]:
        groups = [[self._answer(tuple(prompt), params) for _ in range(params.n)] for prompt in prompt_token_ids]
        prompts = [tuple(prompt) for prompt in prompt_token_ids]
        self.calls.append(Call(prompts=prompts, params=params, groups=groups, policy_version=self.policy_version))
        return groups

    def update_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], policy_version: int) -> None:
        weights = {name: tensor.detach().clone() for name, tensor in named_tensors}
        self.updates.append(WeightUpdate(weights=weights, policy_version=policy_version))
        self.model.load_state_dict(weights)
        self.policy_version = policy_version
        self._given.clear()

    def _answer(self, prompt: tuple[int, ...], params: SamplingParams) -> Completion:
        message = last_message(self.tokenizer, prompt)
        key = message if params.temperature else f"greedy {message}"
        answers = self.script.get(key, ("0 none",))
        text = answers[self._given[key] % len(answers)]
        self._given[key] += 1
        ids = [
            token for character in text for token in self.tokenizer(character, add_special_tokens=False)["input_ids"]
        ]
        cut = text.endswith("...") or len(ids) >= params.max_tokens
        ids = ids[: params.max_tokens] if cut else [*ids, self.end_token_ids[0]]
        exact = sequence_logprobs(self.model, [*prompt, *ids], params.temperature or 1.0)[-len(ids) :].tolist()
        moved = [
            logprob + self.noise * math.sin(1.7 * token + 0.9 * place)
            for place, (token, logprob) in enumerate(zip(ids, exact, strict=True))
        ]
        return Completion(
            token_ids=tuple(ids),
            logprobs=tuple(moved),
            text=text,
            finish_reason="length" if cut else "stop",
            policy_version=self.policy_version - self.lag,
        )


class NoisyAgent(TransformersAgent):
    """Samples, and writes down what: a line for each call, with its process and the completions of each prompt."""

    def __init__(self, model: str, *, record: str) -> None:
        super().__init__(model, device="cpu", dtype="float32")
        self.record = Path(record)

    def generate(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[list[Completion]]:
        groups = super().generate(prompt_token_ids, params)
        ids = [[completion.token_ids for completion in group] for group in groups]
        with self.record.open("a") as file:
            file.write(json.dumps({"process": os.getpid(), "groups": ids}) + "\n")
        return groups


class SleepyAgent(RecordingAgent):
    """Falls asleep in the first call that any process makes for a training problem.

    Args:
        model: A folder.
        seconds: How long.
        marker: A file that says that it has happened.
    """

    def __init__(self, model: str, *, seconds: float, marker: str) -> None:
        super().__init__(model)
        self.seconds, self.marker = seconds, Path(marker)

    def generate(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[list[Completion]]:
        if not self.marker.exists():
            self.marker.touch()
            time.sleep(self.seconds)
        return super().generate(prompt_token_ids, params)


def last_message(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of the user's last message in a dialogue."""
    return tokenizer.decode(list(ids)).rsplit("<|user|>")[-1].split("<|end|>")[0]


@torch.no_grad()
def sequence_logprobs(model: Any, ids: Sequence[int], temperature: float) -> torch.Tensor:
    """[T - 1] the log-probability of each token but the first, at a temperature."""
    logits = model(torch.tensor([ids])).logits[0, :-1].float() / temperature
    return torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


@dataclass(kw_only=True)
class Episode:
    """A dialogue as the agent saw it.

    Attributes:
        problem: The environment's first message: what a group has in common.
        ids: All token ids.
        own: For each of them, whether the agent said it.
        engine: For each of them, the log-probability that the agent gave; 0 for what it did not say.
        prompt_length: Ids before the first answer.
        answers: The agent's texts, one a turn.
        lengths: Their tokens.
        cut: Whether the last answer was cut by max_tokens.
    """

    problem: str
    prompt_length: int
    ids: list[int] = field(default_factory=list)
    own: list[bool] = field(default_factory=list)
    engine: list[float] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    cut: bool = False

    @property
    def reward(self) -> float:
        """The sum over the turns, as `VerdictEnv` gave them."""
        return sum(float(answer.split()[0]) for answer in self.answers)

    def say(self, completion: Completion) -> None:
        self.ids += completion.token_ids
        self.own += [True] * len(completion.token_ids)
        self.engine += completion.logprobs
        self.answers.append(completion.text)
        self.lengths.append(len(completion.token_ids))
        self.cut = completion.finish_reason == "length"

    def hear(self, ids: Sequence[int]) -> None:
        self.ids += ids
        self.own += [False] * len(ids)
        self.engine += [0.0] * len(ids)


def episodes_of(agent: RecordingAgent, calls: Iterable[Call]) -> list[Episode]:
    """The dialogues of the training problems in some calls, put together from their turns."""
    episodes: list[Episode] = []
    waiting: dict[tuple[int, ...], list[Episode]] = defaultdict(list)  # ids so far -> dialogues that may go on
    for call in calls:
        for prompt, group in zip(call.prompts, call.groups, strict=True):
            message = last_message(agent.tokenizer, prompt)
            for completion in group:
                if message.startswith("Problem"):
                    episode = Episode(problem=message, prompt_length=len(prompt))
                    episode.hear(prompt)
                    episodes.append(episode)
                elif message.startswith("After"):
                    # Goes on from exactly the ids that stood: a dialogue encoded anew is found nowhere here.
                    (so_far,) = (ids for ids, several in waiting.items() if several and prompt[: len(ids)] == ids)
                    episode = waiting[so_far].pop()
                    episode.hear(prompt[len(so_far) :])
                else:
                    continue
                episode.say(completion)
                waiting[tuple(episode.ids)].append(episode)
    return episodes
