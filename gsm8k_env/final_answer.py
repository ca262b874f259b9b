r"""Where a completion states its final answer, and which number that is.

Three markers introduce a claim: a box (`\boxed{...}` or `\fbox{...}`, backslash or not); exactly four hashes (`####`);
the word "answer" before a colon or equals sign, or with "is", "was" or "be" after it in its sentence. A box claims what
is inside it. The others claim what follows on their line, or on the next one with text, up to the end of the sentence,
a semicolon, or a comma or bracket before a word; they claim nothing without a digit there, or as a heading with text
below (`#### Step 2`, `#### 2. Check`). No English grammar is read: "the answer is not 18" claims 18.
"""

import re
from fractions import Fraction
from typing import Final, Literal

Method = Literal["boxed", "hash", "phrase", "last_number"]

MAX_ANSWER_CHARS: Final = 1000
"""Longer claims are not read, and a box that is not closed by then is open. This bounds the cost of a claim."""

MAX_DIGITS: Final = 600
"""Longer numbers are not read. CPython's int() refuses above a limit that its user may set as low as 640 digits."""

# Alternatives begin with a character and not with an assertion, so that re skips ahead to it.
_BOX: Final = r"boxed\s*\{|fbox\s*\{"
_HASH: Final = r"####(?<!#####)(?!#)[\s*_`:=]*"
_IS: Final = r"\b(?:[\s*_]{0,9}[:=]|[^\n.!?:=\d]{0,60}?\b(?:is|was|be|IS)\b)[\s*_`:=]*"
_MARKERS: Final = {
    "flexible": re.compile(f"{_BOX}|{_HASH}|answer{_IS}|Answer{_IS}|ANSWER{_IS}"),
    "strict": re.compile(_HASH),
    "boxed": re.compile(_BOX),
}
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_CLAIM_END = re.compile(r"[.!?](?=\s|$)|[\n;]|<[|/]|[,(]\s*[^\W\d_]{2}")
_HEADING = re.compile(r"(?:[Ss]tep \d|\d{1,2}[.)] +[^\W\d_])[^\n]*\n\s*\S")
_DIGIT = re.compile(r"\d")
_UP_TO_LAST_DIGIT = re.compile(r".*\d", re.DOTALL)

# LaTeX, Markdown and typography around numbers, and what it becomes. What is not listed stays as it is.
_MEANINGS: Final = {
    token: meaning
    for meaning, tokens in (
        ("", r"{ } \{ \} ** *** % \% \! $ \$ € £ ¥ ₹ \text \textbf \mathrm \mathbf \left \right \boxed \fbox"),
        (" ", r"\, \; \: \( \) \[ \] \\ \quad ~"),
        ("*", "\\times \\cdot \u00d7 \u00b7"),
        ("=", r"\approx \to \rightarrow \Rightarrow \implies ≈ → ⇒ => ->"),
        ("≠", "!= <= >="),
        ("-", "\u2212 \u2013 \u2011"),  # minus, en dash, non-breaking hyphen
    )
    for token in tokens.split()
}
_MEANINGS.update({"\\ ": " ", "{,}": ",", "\\div": "÷", "\\pi": "π", "\\sqrt": "√", "^\\circ": "°", "½": " 1/2"})
_MEANINGS.update({power: f"^{digit}" for digit, power in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")})
_TOKEN = re.compile(  # a special character with what belongs to it: \text, {,}, ->, <=; ** but not in 9**9
    r"[\\^{}*%$~=<>!\x80-\U0010ffff-](?:(?<=\\)(?:[A-Za-z]+|.)|(?<=\^)\\circ|(?<=\{),\}|(?<=[-=])>|(?<=[<>!])="
    r"|(?<=\*)(?:(?<!\w\*)\*+|\*+(?!\w)))?",
    re.DOTALL,
)
_FRACTION = re.compile(r"\\[dt]?frac *(?:\{([^{}]*)\}|(\d)) *(?:\{([^{}]*)\}|(\d))")
_GROUPED = re.compile(r"[1-9](?<!\w.)(?<!\d[.,].)\d{0,2}([, \u2009\u00a0\u202f])\d{3}(?:\1\d{3})*+(?!\1?\d)")

# A number, and as "root" and "more" what makes another number of it, such as arithmetic left undone.
_DECIMAL: Final = r"(?:\d++(?:\.\d++)?+|\.\d++)"
_NUMBER = re.compile(
    rf"""(?=[-+√.\d])(?P<root>√\ ?)?
    (?P<sign>(?<![\w)])[-+] | (?:(?<![^=])|(?<==\ ))-\ )?  # touches the number, or opens the text or a side
    (?<![\w/^])(?<!\d\.)  # not in H2O, x/2, cm^2, 1.8.0
    (?:(?P<whole>\d++)\ (?=\d++/\d))?(?P<top>{_DECIMAL})(?:\ ?/\ ?(?P<bottom>-?{_DECIMAL}))?(?!\.?\d)
    (?P<more>(?:\ *[-+*/^÷x]+\ *[-+]?{_DECIMAL})++  # 3 * 6, 17-18, 18^2
    | \ ?[-+*/]?\ ?(?:[knxyz]\b | [√π]\ ?\d*+) | e[-+]?\d++  # 18x, 18/x, 18k, 4√2, 1e3
    | \ ?(?:hundred|thousand|million|billion|trillion)\b)?""",
    re.VERBOSE,
)
_SEPARATOR = re.compile(r"[,;&|]|\b(?:or|and)\b")
_UNDONE = re.compile(r"=[^\w=]*+\Z")
# With "#" for the numbers: what is not understood beside them. The digits of H2O and cm^2 are part of a name.
_UNREAD = re.compile(r"[\\<>≤≥≠±√]|[\w)] ?[-+*/] ?#|[-\w]\(#|(?<![^\W\d_])(?<!\^)\d")


def final_claim(text: str, mode: str) -> tuple[str, Method] | None:
    r"""The last claim by the markers of a grading mode, and its marker; None without one or if the last box is open.

    >>> final_claim("The answer is \\boxed{17}. Wait:\n#### $18 in all", "flexible")
    ('$18 in all', 'hash')
    """
    ends = {marker.start(): marker.end() for marker in _MARKERS[mode].finditer(text)}
    box = next((start for start in reversed(ends) if text[start] in "bf"), None)
    box_end = 0 if box is None else _closing_brace(text, ends[box])
    if box_end is None:
        return None
    limit = len(text)
    for start, end in reversed(ends.items()):
        if start < box_end:
            break
        piece = text[end : min(limit, end + MAX_ANSWER_CHARS + 1)]
        claimed = _CLAIM_END.split(piece, maxsplit=1)[0].strip()
        if _DIGIT.search(claimed) and not _HEADING.match(piece):
            return claimed, "hash" if text[start] == "#" else "phrase"
        limit = start
    if box is not None:
        return text[ends[box] : box_end].strip(), "boxed"
    return _last_number(text) if mode == "flexible" else None


def _closing_brace(text: str, start: int) -> int | None:
    depth = 1
    for brace in _BRACE.finditer(text, start, start + MAX_ANSWER_CHARS + 1):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return brace.start()
    return None


def _last_number(text: str) -> tuple[str, Method] | None:
    """The last number with the arithmetic it belongs to; None if the text stops at an equals sign behind it."""
    last_digit = _UP_TO_LAST_DIGIT.match(text)
    if last_digit is None or _UNDONE.search(text, last_digit.end()):
        return None
    tail = _plain(text[max(0, last_digit.end() - 100) : last_digit.end() + 20])
    numbers = [number[0].strip() for number in _NUMBER.finditer(tail)]
    return (numbers[-1], "last_number") if numbers else None


def _plain(text: str) -> str:
    r"""Lower-case text without markup, currency, percent signs and thousands separators.

    >>> _plain(r"**\$1{,}800** or $2\dfrac{36}{2}$")
    '1800 or 2 36/2 '
    """
    text = _FRACTION.sub(r" \1\2/\3\4 ", text)
    text = _TOKEN.sub(lambda token: _MEANINGS.get(token[0], token[0]), text)
    return _GROUPED.sub(lambda number: number[0].replace(number[1], ""), text).lower()


def _value(number: re.Match[str]) -> Fraction | None:
    if number["root"] or number["more"] or len(number[0]) > MAX_DIGITS:
        return None
    value = Fraction(number["top"])
    if number["bottom"]:
        divisor = Fraction(number["bottom"])
        if divisor == 0:
            return None
        value = Fraction(number["whole"] or 0) + value / divisor
    return -value if "-" in (number["sign"] or "") else value


def _last_side(equation: str) -> str:
    """The 18 of "3 * 6 = 18" and of "18 = x"."""
    return next((side for side in reversed(equation.split("=")) if _DIGIT.search(side)), equation).strip()


def read_answer(text: str) -> Fraction | None:
    r"""Reads the one number that a claim, such as the content of a box, names. Any string; no string raises.

    What stands beside the number is a unit, unless it makes another number of it. None if the text names no number or
    two different ones, holds unknown LaTeX, or is longer than `MAX_ANSWER_CHARS` or its number than `MAX_DIGITS`.

    >>> [str(read_answer(text)) for text in ("18", "$18.00", "18 dollars", r"1{,}200", r"\frac{36}{2}", "3 * 6 = 18")]
    ['18', '18', '18', '1200', '18', '18']
    >>> [read_answer(text) for text in ("18 or 19", "17-19", "x > 18", "18x", "4 million", "3 * 6 =", "eighteen")]
    [None, None, None, None, None, None, None]
    """
    if text.isdecimal() and len(text) <= MAX_DIGITS:
        return Fraction(int(text))
    plain = "" if len(text) > MAX_ANSWER_CHARS else _plain(text.strip())
    sides = "=".join(map(_last_side, _SEPARATOR.split(plain)))
    if _UNDONE.search(plain) or _UNREAD.search(_NUMBER.sub("#", sides)):
        return None
    values = [_value(number) for number in _NUMBER.finditer(sides)]
    return values[0] if values and values.count(values[0]) == len(values) else None
