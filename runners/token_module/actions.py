"""Which token an action stands for, as `GSM8KTokens-v0` numbers them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """The actions of an environment whose tokens are a tokenizer's."""

    token_ids: np.ndarray  # int64 [A] the token of each action
    allowed: np.ndarray  # bool [A] whether it writes text or ends it: not for special tokens but the end


def actions_of(tokenizer: PreTrainedTokenizerBase, alphabet: str | None) -> Actions:
    """Returns the A actions: every token by its id, or an alphabet's characters and, last, the end.

    Args:
        tokenizer: The model's.
        alphabet: Characters of one token each; None stands for all tokens.

    Raises:
        ValueError: If the tokenizer has no end token, or a character is not one token.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise ValueError(f"The tokenizer of {tokenizer.name_or_path!r} has no end token, so no completion could end.")
    if alphabet is None:
        token_ids = np.arange(len(tokenizer))
    else:
        token_ids = np.array([*(_token_of(tokenizer, character) for character in alphabet), end])
    special = np.isin(token_ids, tokenizer.all_special_ids)
    return Actions(token_ids=token_ids, allowed=~special | (token_ids == end))


def _token_of(tokenizer: PreTrainedTokenizerBase, character: str) -> int:
    token_ids = tokenizer(character, add_special_tokens=False)["input_ids"]
    if len(token_ids) != 1:
        raise ValueError(
            f"Each character of alphabet must be one token, but {character!r} is {len(token_ids)} of the model's "
            "tokenizer: leave it out of the module's alphabet and the environment's."
        )
    return token_ids[0]
