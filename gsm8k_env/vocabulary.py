"""What a token id stands for: bytes, which need nothing, or the tokenizer of a pretrained model."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gymnasium.error import DependencyNotInstalled

BYTES = "bytes"


class Vocabulary(ABC):
    """Token ids from 0 to ``size - 1`` and the text they stand for; never changed after it is made.

    Copies share it, and it is pickled as its name and loaded again.

    Attributes:
        size: The number of tokens V.
        end_token_id: The token that ends a completion.
        special_token_ids: Tokens that stand for no text, the end among them.
    """

    size: int
    end_token_id: int
    special_token_ids: Sequence[int]

    def __init__(self, name: str) -> None:
        self._name = name

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text alone, without marks of a beginning or an end."""

    @abstractmethod
    def encode_prompt(self, message: str) -> list[int]:
        """Returns the ids that pose a user's message, up to where the completion starts."""

    @abstractmethod
    def decode(self, token_ids: Sequence[int]) -> str:
        """Returns the text of a completion; tokens that stand for no text, such as the end, are left out."""

    def __reduce__(self) -> tuple[Any, ...]:
        return load_vocabulary, (self._name,)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Vocabulary":
        return self


class ByteVocabulary(Vocabulary):
    """The 256 bytes of UTF-8, and the end token 256, which stands after a prompt as well.

    >>> vocabulary = ByteVocabulary()
    >>> vocabulary.encode_prompt("2+2?"), vocabulary.decode([52, 256])
    ([50, 43, 50, 63, 256], '4')
    """

    size = 257
    end_token_id = 256
    special_token_ids = (256,)

    def __init__(self) -> None:
        super().__init__(BYTES)

    def encode(self, text: str) -> list[int]:
        """Returns the bytes of a text."""
        return list(text.encode("utf-8", "surrogatepass"))

    def encode_prompt(self, message: str) -> list[int]:
        """Returns the message's bytes and the end token."""
        return [*self.encode(message), self.end_token_id]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Returns the text of the bytes; those that are not UTF-8 become U+FFFD."""
        return bytes(token_id for token_id in token_ids if token_id < 256).decode("utf-8", "replace")


class PretrainedVocabulary(Vocabulary):
    """A tokenizer in Hugging Face's layout; prompts go through its chat template, if it has one.

    ``size`` counts added tokens too. A model may have more logits than that.

    Args:
        name: A folder or a model's id on the hub.

    Raises:
        ValueError: It cannot be had, or it has no end token.
        DependencyNotInstalled: transformers is missing.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        try:
            # Here and nowhere else, so that the package itself needs Gymnasium and NumPy only.
            from transformers import AutoTokenizer
        except ImportError as error:
            raise DependencyNotInstalled(
                f"tokenizer={name!r} is read by transformers, which cannot be imported ({error}): "
                f"pip install transformers, or use tokenizer={BYTES!r}, which needs nothing."
            ) from error
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
        self.special_token_ids = self._tokenizer.all_special_ids

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


def load_vocabulary(tokenizer: str) -> Vocabulary:
    """Returns the vocabulary of a name; the same object for the same name within a process.

    Args:
        tokenizer: "bytes", a folder with a tokenizer in Hugging Face's layout, or a model's id on the hub.

    Raises:
        ValueError: There is no such tokenizer, it cannot be had, or it has no end token.
        DependencyNotInstalled: It is not "bytes", and transformers is missing.
    """
    if not isinstance(tokenizer, str) or not tokenizer:
        raise ValueError(f"tokenizer must be {BYTES!r}, a folder or a model's id on the hub, got {tokenizer!r}.")
    if tokenizer == BYTES:
        return _bytes()
    folder = Path(tokenizer).expanduser()
    if folder.is_dir():
        return _pretrained(str(folder.resolve()))
    if tokenizer.count("/") != 1 or tokenizer.startswith((".", "/", "~")):
        raise ValueError(
            f"Unknown tokenizer {tokenizer!r}: neither {BYTES!r}, an existing folder, nor an id on the hub of the form "
            f"'owner/name'."
        )
    return _pretrained(tokenizer)


_bytes = functools.cache(ByteVocabulary)
_pretrained = functools.lru_cache(maxsize=4)(PretrainedVocabulary)
