"""Stop texts: a completion ends with the token that completes one of them, whatever the engine.

A text such as the "Question:" with which a few-shot model goes on has no token id of its own. Engines that can
look for it (vLLM, the transformers agent) stop there; of one that cannot, the completion is cut back to the same token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# A tail of this many tokens more than the longest stop text has characters surely holds it: a token of text has at
# least one character, and the rest makes up for tokens that share one (bytes of a rare character).
_SPARE_TOKENS = 8


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """Returns the text before the first of the stop texts.

    >>> cut_at_stop("18 Question: 4?", ("</s>", "Question:"))
    '18 '
    """
    return text[: min((place for mark in stop if (place := text.find(mark)) >= 0), default=len(text))]


def tokens_to_stop(tokenizer: Any, token_ids: Sequence[int], stop: Sequence[str]) -> int | None:
    """Returns how many tokens it takes to complete a stop text, or None where none appears.

    Args:
        tokenizer: Decodes ids, special tokens left out.
        token_ids: [T] a completion's ids.
        stop: The texts; none of them empty.
    """

    def holds(count: int) -> bool:
        text = tokenizer.decode(token_ids[:count], skip_special_tokens=True)
        return any(mark in text for mark in stop)

    if not stop or not holds(len(token_ids)):
        return None
    low, high = 0, len(token_ids)  # a stop text is in the first `high` tokens and not in the first `low`
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def ends_with_stop(tokenizer: Any, token_ids: Sequence[int], stop: Sequence[str]) -> bool:
    """Returns whether the last token has just completed a stop text: all that sampling has to ask after each token."""
    tail = token_ids[-(max(map(len, stop)) + _SPARE_TOKENS) :]
    text = tokenizer.decode(tail, skip_special_tokens=True)
    return any(mark in text for mark in stop)
