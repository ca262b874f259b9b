"""What every agent is: prompts in, completions with log-probabilities out, weights updated in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

FinishReason = Literal["stop", "length", "abort"]


class EngineError(RuntimeError):
    """An inference engine died, hung beyond its time limit, or cannot be reached.

    The request it was working on is lost; `Agent.restart` makes the agent usable again.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How to sample. Every field is passed to the engine explicitly: none is read from a checkpoint's defaults.

    Names and meanings are vLLM's (https://docs.vllm.ai, `vllm.SamplingParams`).

    Attributes:
        n: Completions for each prompt, >= 1.
        temperature: Divides the logits before the softmax, >= 0; 0 is greedy.
        top_p: Nucleus mass in (0, 1]; 1 is off.
        top_k: Keep the k likeliest tokens; 0 is off.
        max_tokens: Most tokens in a completion, the end token included, >= 1.
        stop_token_ids: Token ids that end a completion, besides the model's own end tokens.
        stop: Texts that end a completion: the token that completes one is its last, and its text ends before it.
        seed: Completion j of prompt i is drawn with the stream of random numbers of seed s_i + j, in every engine (the
            rule is vLLM's). A tuple gives s_i for each prompt of the call, >= 0; s_i + n - 1 must fit in 31 bits. From
            an int each prompt's s_i is mixed with its place in the call. None takes fresh random numbers.

    Raises:
        ValueError: For a value out of its range.
    """

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 256
    stop_token_ids: tuple[int, ...] = ()
    stop: tuple[str, ...] = ()
    seed: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name, ok, allowed in (
            ("n", self.n >= 1, ">= 1"),
            ("temperature", 0 <= self.temperature < float("inf"), ">= 0 and finite"),
            ("top_p", 0 < self.top_p <= 1, "in (0, 1]"),
            ("top_k", self.top_k >= 0, ">= 0 (0 is off)"),
            ("max_tokens", self.max_tokens >= 1, ">= 1"),
            ("seed", self._seed_is_ok(), "None, an int, or a tuple of an int from 0 to 2**31 - n for each prompt"),
            ("stop", not isinstance(self.stop, str) and all(self.stop), "a tuple of texts, none of them empty"),
        ):
            if not ok:
                raise ValueError(f"SamplingParams: {name}={getattr(self, name)!r}, but it must be {allowed}.")

    def _seed_is_ok(self) -> bool:
        if isinstance(self.seed, tuple):
            return all(isinstance(seed, int) and 0 <= seed <= 2**31 - self.n for seed in self.seed)
        return self.seed is None or isinstance(self.seed, int)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One completion, as the engine produced it.

    Attributes:
        token_ids: [T] the completion's ids; a matched end token is part of them.
        logprobs: [T] log-probability of each id (nats) under the distribution it was drawn from, that is after
            temperature, top-k and top-p; at temperature 0 that of temperature 1.
        text: `token_ids` decoded, special tokens left out; up to the stop text, where one ended it.
        finish_reason: "stop" (an end token or a stop text), "length" (max_tokens or the context ran out) or "abort".
        policy_version: Version of the weights that drew its first token, as given with them; 0 before any.
        policy_versions: [T] of each token, where weights were loaded on the way; empty where all are `policy_version`.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: FinishReason
    policy_version: int
    policy_versions: tuple[int, ...] = ()


@runtime_checkable
class Agent(Protocol):
    """The interface between an environment or a trainer and an inference engine."""

    tokenizer: Any
    end_token_ids: tuple[int, ...]
    max_model_len: int
    policy_version: int

    def encode(self, observation: str) -> list[int]:
        """Returns the prompt's token ids: `observation` as the user's message in the model's chat template."""
        ...

    def encode_next(self, token_ids: Sequence[int], observation: str) -> list[int]:
        """Returns the ids to append to a dialogue's, so that `observation` is the user's next message in it.

        Args:
            token_ids: The dialogue so far, prompt and completion, as given and sampled; they are not encoded again.
            observation: The user's next message.
        """
        ...

    def act(self, observation: str) -> str:
        """Returns one completion's text, for any Gymnasium loop."""
        ...

    def generate(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[list[Completion]]:
        """Samples `params.n` completions for each of N prompts: [N][n], in the prompts' order.

        With `params.seed` as a tuple, the random numbers of a completion depend on its own seed alone: not on the other
        prompts of the call, on their order, or on how the engine batches them. The model's own rounding may depend on
        the batch, and moves a draw that falls between: in float32 about one token of a million.

        Raises:
            ValueError: For an empty prompt, one that leaves no room for a token in the context, or a tuple of seeds
                that are not as many as the prompts.
            EngineError: If the engine died, hung or cannot be reached.
        """
        ...

    def update_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], policy_version: int) -> None:
        """Replaces the weights (Hugging Face names) and drops every cache made with the old ones.

        The tensors may be another's memory: they are copied from before this returns, and never written to. An agent
        may take weights by other ways too: see `agents.weight_loader.WeightLoader`.

        Raises:
            ValueError: For an unknown or missing name or a wrong shape; nothing is changed then.
        """
        ...

    def restart(self) -> None:
        """Starts the engine anew after an `EngineError`, with the checkpoint's weights and policy version 0.

        Raises:
            EngineError: If it cannot be started.
        """
        ...

    def close(self) -> None:
        """Frees the engine. The agent is not used afterwards."""
        ...


@runtime_checkable
class StreamingAgent(Agent, Protocol):
    """An agent that takes new prompts while it completes others, and gives back each completion as it ends.

    `generate` works beside it: what it waits for is its own. After an `EngineError` every open completion is lost.
    Weights are not loaded while completions are open, but by an agent that has `loads_in_flight = True`: there they go
    on under the new ones, and say so (`Completion.policy_versions`).

    Attributes:
        in_process: Whether the engine works inside `poll` alone, in this process.
    """

    in_process: bool

    def submit(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[list[int]]:
        """Begins `params.n` completions for each of N prompts; returns a number for each, unique to the agent: [N][n].

        What is sampled is what `generate` would sample with these arguments, up to the model's rounding.

        Raises:
            ValueError: As `generate`.
            EngineError: As `generate`.
        """
        ...

    def poll(self, timeout_s: float = 0.0) -> Mapping[int, Completion]:
        """Returns the completions that have ended since the last call, by number; none twice.

        Args:
            timeout_s: Seconds to wait for the first; with 0 it returns at once. An engine in this process works in
                here: it takes one step at least, which appends a token to each open completion.

        Raises:
            EngineError: If the engine died, hung or cannot be reached.
        """
        ...
