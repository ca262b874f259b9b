"""The tokenizer of a pretrained model as a vocabulary. The one module here that imports transformers."""

from collections.abc import Sequence
from typing import Any

from transformers import AutoTokenizer

from gsm8k_env.vocabulary import Vocabulary


class PretrainedVocabulary(Vocabulary):
    """A tokenizer in Hugging Face's layout; prompts go through its chat template, if it has one.

    Args:
        name: A folder or a model's id on the hub.

    Attributes:
        size: The number of tokens V, added ones included. A model may have more logits than that.
        end_token_id: The tokenizer's ``eos_token_id``.

    Raises:
        ValueError: It cannot be had, or it has no end token.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(name)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"No tokenizer could be read from {name!r}: {error}") from error
        if self._tokenizer.eos_token_id is None:
            raise ValueError(
                f"The tokenizer of {name!r} has no end token, so no completion could end: set eos_token in its "
                "tokenizer_config.json."
            )
        self.size = len(self._tokenizer)
        self.end_token_id = self._tokenizer.eos_token_id

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without special tokens."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def encode_prompt(self, message: str) -> list[int]:
        """Returns the ids of the message as the user's, ready for the assistant's turn; of the bare text without one.

        The template writes the BOS token itself where the model wants one, so none is added on top.
        """
        if self._tokenizer.chat_template is None:
            return list(self._tokenizer(message)["input_ids"])
        messages = [{"role": "user", "content": message}]
        return list(self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))

    def decode(self, token_ids: Sequence[int]) -> str:
        """Returns the text, special tokens left out."""
        return self._tokenizer.decode(token_ids, skip_special_tokens=True)
