r"""Where in a completion its final answer stands: a `\boxed{...}`, `#### ...`, "the answer is ...", or the last number.

Every search runs from the end of the text, and what a claim costs is bounded by a constant or by the distance to the
next claim, so that the whole is linear in the text's length.
"""

import re
from typing import Final, Literal, NamedTuple

from gsm8k_env.answer_value import MAX_ANSWER_CHARS, NEGATION, UNDONE, last_expression

Method = Literal["boxed", "hash", "phrase", "last_number"]

_HASH: Final = "####"
_PHRASE_CHARS: Final = 120  # from the word "answer" to its number; more would no longer be one phrase
_CONTEXT_CHARS: Final = 60  # before the word "answer"
_UNIT_CHARS: Final = 20  # after the last digit, for "million"

_DIGIT = re.compile(r"\d")
_NONSPACE = re.compile(r"\S")
_OPENING_MARKUP = re.compile(r"[\s*_`:=]*")
_BOX_OPENS = re.compile(r"\\boxed\s*\{\s*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BARE_INTEGER = re.compile(r"[ \t]*(\$?-?[0-9][0-9,]{0,60})\s*\Z")
_HEADING = re.compile(
    r"[\s*_]*(?:(?:step|part|case|question|problem|option|method|phase|section|example|solution)\s+\d|\d{1,2}[.)]\s+[^\W\d])",
    re.IGNORECASE,
)
# A claim ends with its sentence, with a remark or a subordinate clause, and before a token such as </s> or <|im_end|>.
_CLAUSE_END = re.compile(
    r"[.!?](?=\s|$)|[\n;]|<(?=[|/a-z])|\((?!or\b)(?=[^\W\d]{2})"
    r"|,\s*+(?!(?:or|and|but|maybe|perhaps|possibly)\b)[^\W\d]{2}"
    r"|\s(?:because|since|as|so|which|where|when|after|if|for|from|given|not|rather|instead|while|therefore|hence)\b",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"s?(?![^\W_])[^\n]*?(?:\b(?:is|was|are|be|equals?|becomes|cannot)\b|\b(?:is|was|are|ca|wo)n't\b|[:=])"
)
_BREAK = re.compile(r"[.!?]\s|[\w,;]\s*+\n")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_CONTEXT_START = re.compile(r"[.,;:!?>\n]")
_CAPITAL_OPENERS: Final = frozenset({"The", "My", "Our", "Final"})
_OPENERS: Final = frozenset({"so", "thus", "hence", "therefore", "then", "and", "but", "because"})
_SUPPOSING: Final = frozenset({"if", "whether", "unless", "suppose", "assume", "assuming", "doubt"})
_DENYING: Final = frozenset({"not", "never", "no", "cannot", "wrong", "incorrect", "false"})
_ASKING: Final = frozenset({"to", "we", "i", "can", "us", "must", "please", "let's"})  # before "answer" as a verb
_DETERMINERS: Final = frozenset({"the", "my", "our", "final", "correct", "numerical"})
_PRESENTING: Final = frozenset(
    {"is", "here's", "gives", "give", "get", "have", "yields"}
)  # "here is the answer in km: 1"
_INSTEAD = re.compile(r"\bbut\b|\brather\b|\bit is\b|\bit's\b")
_FOLDING: Final = {ord("\u2019"): ord("'")} | {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class Claim(NamedTuple):
    """A final answer as the text states it."""

    start: int  # where in the text its marker begins
    text: str  # what `read_answer` is to read; at most MAX_ANSWER_CHARS + 1 characters
    method: Method


class Box(NamedTuple):
    """The last box of a text."""

    claim: Claim | None  # None without a box, and if it is open
    open: bool  # the text ends, or runs on too far, before the box is closed
    end: int  # one past its closing brace; 0 if there is none


class Phrases(NamedTuple):
    """What the sentences with the word "answer" say."""

    claim: Claim | None
    disowned: tuple[int, int]  # [start, end) of the last sentence that says what the answer is not


def after_thinking(text: str) -> str | None:
    """What follows the last `</think>`; None if a `<think>` block was left open.

    >>> after_thinking("<think>17?</think> 18")
    ' 18'
    >>> after_thinking("<think>17?") is None
    True
    """
    if "think>" not in text:
        return text
    closed = text.rfind("</think>")
    if text.rfind("<think>") > closed:
        return None
    return text if closed < 0 else text[closed + len("</think>") :]


def last_box(text: str) -> Box:
    r"""Finds the last `\boxed{...}`; one that does not close within `MAX_ANSWER_CHARS` is open.

    >>> last_box(r"\boxed{17} or \boxed{\text{18}}").claim.text
    '\\text{18}'
    >>> last_box(r"\boxed{17} or \boxed{18")
    Box(claim=None, open=True, end=0)
    >>> last_box("18")
    Box(claim=None, open=False, end=0)
    """
    start = text.rfind("\\boxed")
    while start >= 0:
        if opening := _BOX_OPENS.match(text, start):
            end = _closing_brace(text, opening.end())
            if end is None:
                return Box(claim=None, open=True, end=0)
            content = text[opening.end() : end].strip()
            return Box(claim=Claim(start=start, text=content, method="boxed"), open=False, end=end + 1)
        start = text.rfind("\\boxed", 0, start)
    return Box(claim=None, open=False, end=0)


def _closing_brace(text: str, start: int) -> int | None:
    depth = 1
    for brace in _BRACE.finditer(text, start, start + MAX_ANSWER_CHARS + 1):
        if brace[0] == "{":
            depth += 1
        elif brace[0] == "}":
            depth -= 1
            if depth == 0:
                return brace.start()
    return None


def last_hash(text: str, floor: int = 0) -> Claim | None:
    r"""The last `####` at or after `floor` that has a number behind it and is not a Markdown heading.

    >>> last_hash("#### Step 1\nblah\n#### $18 <|im_end|>").text
    '$18'
    """
    limit = len(text)
    start = text.rfind(_HASH, floor)
    while start >= 0:
        in_longer_run = text[start - 1 : start] == "#" or text[start + len(_HASH) : start + len(_HASH) + 1] == "#"
        if not in_longer_run and (claim := _hash_claim(text, start, limit)):
            return claim
        limit, start = start, text.rfind(_HASH, floor, start)
    return None


def _hash_claim(text: str, start: int, limit: int) -> Claim | None:
    bare = _BARE_INTEGER.match(text, start + len(_HASH), limit)
    if bare is not None:
        return Claim(start=start, text=bare[1], method="hash")
    content = _NONSPACE.search(text, start + len(_HASH), limit)
    if content is None:
        return None
    first = content.start()
    line_end = text.find("\n", first, limit)
    if line_end < 0:
        line_end = limit
    if not _DIGIT.search(text, first, line_end):
        return None
    if _HEADING.match(text, first, line_end) and _NONSPACE.search(text, line_end, limit):
        return None  # with text below it, a numbered or labelled line is a heading
    return Claim(start=start, text=_clause(text, first, line_end), method="hash")


def _clause(text: str, start: int, limit: int) -> str:
    """The words around the first number after `start`. Where the length limit cuts them, they stay too long to read."""
    opening = _OPENING_MARKUP.match(text, start, limit)
    start = opening.end() if opening else start
    piece = text[start : min(limit, start + MAX_ANSWER_CHARS + 1)]
    digit = _DIGIT.search(piece)
    end = _CLAUSE_END.search(piece, digit.start()) if digit else None
    return (piece[: end.start()] if end else piece).strip()


def last_phrase(text: str, floor: int = 0) -> Phrases:
    """The last "the answer is ..." at or after `floor` that stands by its number.

    A sentence that denies or supposes an answer ("the answer is not 18", "if the answer is 18") is no claim, unless it
    goes on to name another number ("not 17 but 18").

    >>> last_phrase("The final answer is: $18 because 3 * 6 = 18.").claim.text
    '$18'
    >>> last_phrase("The answer is not 18.")
    Phrases(claim=None, disowned=(0, 21))
    """
    folded = text.lower() if text.isascii() else text.translate(_FOLDING)  # str.lower() may change the length
    disowned, limit = (0, 0), len(text)
    position = folded.rfind("answer", floor)
    while position >= 0:
        found = _phrase(text, folded, position, limit)
        if isinstance(found, int):
            return Phrases(Claim(start=position, text=_clause(text, found, limit), method="phrase"), disowned)
        if found is not None and disowned == (0, 0):
            disowned = found
        limit, position = position, folded.rfind("answer", floor, position)
    return Phrases(None, disowned)


def _phrase(text: str, folded: str, position: int, limit: int) -> int | tuple[int, int] | None:
    """Judges one occurrence of the word "answer".

    Returns:
        Where the stated answer begins; or [start, end) of a sentence that disowns one; or None if it says neither.
    """
    first = position + len("answer")
    window = folded[first : min(limit, first + _PHRASE_CHARS)]
    digit = _DIGIT.search(window)
    if digit is None and not _DIGIT.search(folded, max(0, position - _CONTEXT_CHARS), position):
        return None
    bridge = window[: digit.start()] if digit else window
    verb = _VERB.match(bridge)
    if digit is not None and verb is None:
        return None
    context = _CONTEXT_START.split(text[max(0, position - _CONTEXT_CHARS) : position])[-1]
    words = _words_of_clause(context)
    if words and words[-1] in _ASKING:
        return None
    if verb is not None and _is_operand(words, verb[0]):
        return None
    negated = verb is not None and NEGATION.search(bridge) is not None
    if not negated and not _disowns(words):
        stated = verb is not None and digit is not None and not _BREAK.search(bridge, verb.end())
        return first + verb.end() if verb and stated else None
    sentence = _SENTENCE_END.search(window, len(bridge))
    end = sentence.end() if sentence else len(window)
    instead = _INSTEAD.search(window, len(bridge), end) if negated else None
    if instead and _DIGIT.search(window, instead.end(), end):
        return first + instead.end()
    return position - len(context), first + end


def _words_of_clause(context: str) -> list[str]:
    """The lower-case words since a clause began; many a writer leaves out the full stop before "The answer"."""
    words: list[str] = []
    for word in context.replace("*", " ").replace("\u2019", "'").split():
        if word in _CAPITAL_OPENERS or word.lower() in _OPENERS:
            words.clear()
        else:
            words.append(word.lower())
    return words


def _is_operand(words: list[str], bridge: str) -> bool:
    """Whether the sentence does something to the answer: "to express the answer as a percentage: 9 / 27 * 100"."""
    if bridge[-1] not in ":=" or not any(map(str.isalpha, bridge)):
        return False
    lead = next((word for word in reversed(words) if word not in _DETERMINERS), None)
    return lead is not None and lead not in _PRESENTING


def _disowns(words: list[str]) -> bool:
    """Whether what stands before "answer" denies it, supposes it, or gives it to somebody else ("Tom's answer")."""
    if not (_SUPPOSING.isdisjoint(words) and _DENYING.isdisjoint(words)):
        return True
    return any(word.endswith("n't") for word in words) or (bool(words) and words[-1].endswith("'s"))


def last_number(text: str) -> Claim | None:
    """The last number of the text, or the last arithmetic with numbers; None if the text stops before its result.

    >>> last_number("3 * 6 = 18 eggs, all from hens.").text
    '18'
    >>> last_number("Each gets 36 / 2 = $")
    """
    digit = _DIGIT.search(text[::-1])
    if digit is None:
        return None
    end = len(text) - digit.start()
    if UNDONE.search(text, end):
        return None
    # A line break or an equals sign is never inside an expression; looking no further back is only for speed.
    start = max(text.rfind("\n", 0, end), text.rfind("=", 0, end), end - MAX_ANSWER_CHARS - 1, 0)
    expression = last_expression(text[start : end + _UNIT_CHARS])
    while expression is None and start > 0:  # the digits belonged to names such as H2O
        end, start = start, max(0, start - MAX_ANSWER_CHARS - 1)
        expression = last_expression(text[start:end])
    return None if expression is None else Claim(start=end - 1, text=expression, method="last_number")
