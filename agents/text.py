"""Text in, text out over token in, token out: what every agent with a Hugging Face tokenizer shares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase

from agents.base import Completion, SamplingParams
from agents.engine_output import EngineOutput
from agents.stop_text import cut_at_stop
from agents.values import fits
from agents.weight_sources import Arrays, WeightSource
from agents.weights import TensorSpec

if TYPE_CHECKING:
    import torch

# Stands for the assistant's message where only what a chat template writes behind it is wanted.
_MESSAGE = "=assistant's message="


def load_tokenizer(folder: str | Path, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Loads the tokenizer of a model's folder."""
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)


def end_token_ids(folder: str | Path, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Returns every id that ends a completion: all of the checkpoint's `eos_token_id` and the tokenizer's own.

    Raises:
        ValueError: If those of the checkpoint are no ids.
    """
    ids: set[int] = set()
    if (Path(folder) / "generation_config.json").exists():
        eos = GenerationConfig.from_pretrained(folder).eos_token_id
        if not fits(eos, int | list[int] | None):
            raise ValueError(
                f"eos_token_id={eos!r} in generation_config.json, but it must be an int or a list of them."
            )
        ids.update([eos] if isinstance(eos, int) else eos or [])
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    return tuple(sorted(ids))


def encode_chat(tokenizer: PreTrainedTokenizerBase, observation: str) -> list[int]:
    """Returns the ids of `observation` as the user's message, ready for the assistant's turn.

    A tokenizer without a chat template encodes the plain text. The template writes the BOS token itself where the
    model wants one, so none is added on top.
    """
    if tokenizer.chat_template is None:
        return list(tokenizer(observation)["input_ids"])
    messages = [{"role": "user", "content": observation}]
    return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))


def encode_next_chat(
    tokenizer: PreTrainedTokenizerBase, end_token_ids: Sequence[int], token_ids: Sequence[int], observation: str
) -> list[int]:
    """Returns the ids that continue a dialogue with `observation` as the user's next message, for the assistant's turn.

    They are what the chat template writes behind an assistant's message: the end of its turn, the user's message, the
    opening of the next turn. The ids so far stay as they are. So the policy is trained on the tokens it sampled, where
    encoding their text anew may give others, and the template may rewrite earlier messages (drop their thoughts).

    A dialogue that ends in an end token has the end of the turn already, in the policy's own choice of it. One cut by
    max_tokens gets the template's. Without a chat template it is the plain text on lines of its own.

    Args:
        tokenizer: The model's.
        end_token_ids: Those that end a completion.
        token_ids: The dialogue so far, the last completion included.
        observation: The user's next message.

    Raises:
        ValueError: If the chat template leaves out the assistant's messages.
    """
    if tokenizer.chat_template is None:
        return list(tokenizer(f"\n{observation}\n", add_special_tokens=False)["input_ids"])
    messages = [
        {"role": "user", "content": "user's message"},
        {"role": "assistant", "content": _MESSAGE},
        {"role": "user", "content": observation},
    ]
    text = str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
    _, found, continuation = text.partition(_MESSAGE)
    if not found:
        raise ValueError(
            "The model's chat template leaves out what the assistant said before, so it has no place for an episode of "
            "several turns. Use an environment with one step an episode, or a model with another template."
        )
    ids = list(tokenizer(continuation, add_special_tokens=False)["input_ids"])
    closing = next((place for place, token in enumerate(ids) if token in end_token_ids), None)
    # Some templates write a space before the end token; anything else there would be the next message.
    if token_ids[-1] in end_token_ids and closing is not None and not str(tokenizer.decode(ids[:closing])).strip():
        return ids[closing + 1 :]
    return ids


def encode_completion(tokenizer: PreTrainedTokenizerBase, end_token_ids: Sequence[int], completion: str) -> list[int]:
    """Returns the ids of a completion behind `encode_chat`, with the end token that an agent would stop at.

    It is the one that the chat template writes behind an assistant's message, else the tokenizer's own.

    Args:
        tokenizer: The model's.
        end_token_ids: Those that end a completion.
        completion: The assistant's message.

    Raises:
        ValueError: If the model has no end token.
    """
    ids = list(tokenizer(completion, add_special_tokens=False)["input_ids"])
    closing: list[int] = []
    if tokenizer.chat_template is not None:
        messages = [{"role": "user", "content": "user's message"}, {"role": "assistant", "content": _MESSAGE}]
        text = str(tokenizer.apply_chat_template(messages, tokenize=False)).partition(_MESSAGE)[2]
        closing = [token for token in tokenizer(text, add_special_tokens=False)["input_ids"] if token in end_token_ids]
    ends = [*closing, *([] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]), *end_token_ids]
    if not ends:
        raise ValueError("The model has no end token: nothing says where a completion ends.")
    return [*ids, ends[0]]


def check_prompts(
    prompt_token_ids: Sequence[Sequence[int]], seed: int | tuple[int, ...] | None, max_model_len: int
) -> None:
    """Refuses prompts that no engine can complete, and seeds that are not theirs.

    Raises:
        ValueError: For an empty prompt or one that leaves no room for a token in `max_model_len`, or for a tuple of
            another number of seeds than of prompts.
    """
    if isinstance(seed, tuple) and len(seed) != len(prompt_token_ids):
        raise ValueError(
            f"SamplingParams.seed holds {len(seed)} seeds for {len(prompt_token_ids)} prompts: give one for each "
            "prompt, or an int."
        )
    for row, ids in enumerate(prompt_token_ids):
        if not 0 < len(ids) < max_model_len:
            raise ValueError(
                f"Prompt {row} has {len(ids)} tokens; allowed are 1 to {max_model_len - 1}, one less than the "
                f"context of {max_model_len}. Shorten it or give the engine a longer context."
            )


class TextAgent:
    """Base of the agents here: the tokenizer, the text path, and the sampling that `act` uses.

    A subclass gives `generate`, and one of `load_weights` and `update_weights`: each is the other here.

    Args:
        folder: Folder of the model, with its tokenizer.
        max_model_len: Most tokens of prompt and completion together.
        sampling: What `act` samples with.
        trust_remote_code: Whether the tokenizer may run code of its folder.
    """

    weight_transfers: tuple[str, ...] = ()

    def __init__(
        self,
        folder: str | Path,
        *,
        max_model_len: int,
        sampling: SamplingParams | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self.tokenizer: Any = load_tokenizer(folder, trust_remote_code=trust_remote_code)
        self.end_token_ids = end_token_ids(folder, self.tokenizer)
        self.max_model_len = max_model_len
        self.sampling = sampling or SamplingParams()
        self.policy_version = 0

    def encode(self, observation: str) -> list[int]:
        """Returns the prompt's token ids: `observation` as the user's message in the model's chat template."""
        return encode_chat(self.tokenizer, observation)

    def encode_next(self, token_ids: Sequence[int], observation: str) -> list[int]:
        """Returns the ids to append to a dialogue's, so that `observation` is the user's next message in it."""
        return encode_next_chat(self.tokenizer, self.end_token_ids, token_ids, observation)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Returns the text of `token_ids`, special tokens left out."""
        return self.tokenizer.decode(token_ids, skip_special_tokens=True)

    def completions(self, outputs: Sequence[EngineOutput], stop: Sequence[str]) -> list[Completion]:
        """Returns what an engine made, with its text up to the first stop text and the policy version."""
        if not outputs:
            return []
        texts = self.tokenizer.batch_decode([output.token_ids for output in outputs], skip_special_tokens=True)
        return [
            Completion(
                token_ids=output.token_ids,
                logprobs=output.logprobs,
                text=cut_at_stop(text, stop),
                finish_reason=output.finish_reason,
                policy_version=min(output.policy_versions, default=self.policy_version),
                policy_versions=output.policy_versions if len(set(output.policy_versions)) > 1 else (),
            )
            for output, text in zip(outputs, texts, strict=True)
        ]

    def act(self, observation: str) -> str:
        """Returns one completion's text, sampled with `self.sampling`."""
        prompt = self.encode(observation)
        room = self.max_model_len - len(prompt)
        params = replace(self.sampling, n=1, max_tokens=max(1, min(self.sampling.max_tokens, room)))
        return self.generate([prompt], params)[0][0].text

    def generate(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[list[Completion]]:
        """Samples `params.n` completions for each of N prompts: [N][n], in the prompts' order."""
        raise NotImplementedError

    def num_workers(self) -> int:
        """Returns 1: an engine inside this process holds the whole model."""
        return 1

    def check_weights(self, specs: Sequence[TensorSpec]) -> None:
        """Takes any weights."""

    def load_weights(self, source: WeightSource, policy_version: int) -> None:
        """Replaces the weights and drops every cache made with the old ones."""
        self.update_weights(source.tensors(), policy_version)

    def update_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], policy_version: int) -> None:
        """As `load_weights`, from plain tensors with Hugging Face names."""
        self.load_weights(Arrays.of(named_tensors), policy_version)

    def restart(self) -> None:
        """Does nothing: an engine inside this process dies with it."""

    def close(self) -> None:
        """Frees the engine."""
