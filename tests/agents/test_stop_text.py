"""Stop texts: found at the token that completes them, however the text is cut into tokens."""

import pytest

from agents.models import resolve_model
from agents.stop_text import cut_at_stop, ends_with_stop, tokens_to_stop
from agents.text import load_tokenizer

TEXT = "She has 18 eggs.\nQuestion: How many? \u20ac5\nQuestion: again"


@pytest.fixture(scope="module")
def tokenizer():  # type: ignore[no-untyped-def]
    return load_tokenizer(resolve_model("tiny"))


def test_cut_at_stop() -> None:
    assert cut_at_stop("a Q: b </s>", ("</s>", "Q:")) == "a "
    assert cut_at_stop("a", ("Q:",)) == "a"
    assert cut_at_stop("a Q:", ()) == "a Q:"


@pytest.mark.parametrize("stop", [("Question:",), ("?", "Question:"), ("e",), ("\u20ac5",), ("never", "18")])
def test_the_fewest_tokens_that_hold_a_stop_text(tokenizer, stop: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    holding = [n for n in range(1, len(ids) + 1) if any(mark in tokenizer.decode(ids[:n]) for mark in stop)]
    assert tokens_to_stop(tokenizer, ids, stop) == holding[0]
    # Asked after each token, as in sampling, the answer is the same.
    assert next(n for n in range(1, len(ids) + 1) if ends_with_stop(tokenizer, ids[:n], stop)) == holding[0]


@pytest.mark.parametrize("stop", [(), ("never",)])
def test_no_stop_text(tokenizer, stop: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    assert tokens_to_stop(tokenizer, tokenizer(TEXT)["input_ids"], stop) is None
