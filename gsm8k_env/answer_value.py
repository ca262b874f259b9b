r"""The text of an answer to the exact number it names.

What a reader takes for a number here: digits with an optional sign, currency, well-formed thousands groups and
decimals (`-$1,200.50`), fractions (`36/2`, `\frac{36}{2}`, `2 1/2`), powers of ten (`1.2e3`, `1.2 \times 10^3`), and
the words hundred to trillion or a touching `k` after it. Words around a number are units; a percent sign is one as
well. An equation stands for its right-hand side.

Anything that leaves more than one reading has no value: two different numbers, a range, an inequality, a negation,
arithmetic left undone, LaTeX we do not know. Plain spaces never group digits: `1 200` is two numbers, `1\,200` is one.
Numbers spelt in letters are not read.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Final

from gsm8k_env.markup import THIN_SPACE, plain_text

MAX_ANSWER_CHARS: Final = 1000
"""A longer text is not read as a number, which bounds the cost of everything below."""

MAX_DIGITS: Final = 600
"""Longer numbers are not read. CPython's int() refuses above a limit that its user may set as low as 640 digits."""

NEGATION: Final = re.compile(r"n(?:(?<![a-z]n)(?:ot|ever|either|or)|'t)\b|cannot\b|≠")
"""Words that turn a statement around; to be searched in lower-case text."""

SCALE_WORD: Final = re.compile(r"(?:hundred|thousand|million|billion|trillion)\b", re.IGNORECASE)

UNDONE: Final = re.compile(r"=[^\w=]*+\Z")
"""An equals sign with no word behind it: the writer stopped before the result."""

_SCALES: Final = {"k": 3, "hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_MAX_EXPONENT_DIGITS: Final = 2

_PLAIN = re.compile(rf"\$?(-?[0-9]{{1,{MAX_DIGITS}}})\.?")
_GROUPED = re.compile(rf"(?<!\w)(?<!\d[,.{THIN_SPACE}])(?!0)\d{{1,3}}(?:[,{THIN_SPACE}]\d{{3}})+(?![,{THIN_SPACE}]?\d)")
_GROUPING = str.maketrans("", "", "," + THIN_SPACE)

# The patterns below see lower-case plain text. Possessive quantifiers keep each attempt at a position linear. Where it
# can be had, a pattern begins with characters and not with an assertion, which lets re skip ahead.
_CURRENCY = "[$€£¥₹]"
_SIGN = rf"(?:(?<![\w)])[-+]?[^\S\n]?{_CURRENCY}[^\S\n]?[-+]?|(?<![\w)])[-+])?"
_DECIMAL = r"(?:\d++(?:\.\d++)?+|\.\d++)"
_FIRST = rf"(?<!\w)(?<!\d\.)(?!(?<=\.)\.){_DECIMAL}(?:e[-+]?\d++(?!\w))?(?!\.?\d|e[-+]?\d)"
_OPERATOR = r"[^\S\n]*(?:[-+*/^÷]+|x)[^\S\n]*"
_SCALE = r"(?:k\b|[^\S\n]?(?:hundred|thousand|million|billion|trillion)\b)?"
_EXPRESSION = re.compile(rf"{_SIGN}{_FIRST}(?:{_OPERATOR}[-+]?{_CURRENCY}?{_DECIMAL})*+{_SCALE}")
_VALUE = re.compile(
    rf"(?P<lead>[-+$€£¥₹\s]*+)(?P<number>{_DECIMAL})(?:e(?P<exponent>[-+]?\d++))?"
    rf"(?:\s*/\s*(?P<minus>-?){_CURRENCY}?(?P<divisor>{_DECIMAL})|\s*[*x]\s*10\s*\^\s*(?P<power>-?\d++))?"
    rf"\s*(?P<scale>{'|'.join(_SCALES)})?"
)

_DIGIT = re.compile(r"\d")
_SEPARATOR = re.compile(r"[,;&|]|[\s(](?:or|and|but)\b(?! a (?:half|third|quarter))")
_BRACKET = re.compile(r"[()\[\]]")
_FUNCTION = re.compile(r"[^\W\d_]\((?=[-+.\d])")
_OPENING_MINUS = re.compile(r"\s*-\s+(?=[\d.$€£¥₹])")
_EQUALS_MINUS = re.compile(r"=\s*-\s+(?=[\d.$€£¥₹])")
_OBSTACLE = re.compile(r"[\\^*+_<>≤≥≠±√π∞÷]|and a (?:half|third|quarter)\b")
_BEFORE_OBSTACLE = re.compile(r"[-/]\s*(?:[a-z]{1,3})?[$€£¥₹]?\s*\Z")
_VARIABLE = re.compile(r"\s?/?\s?[xyzn]{1,3}(?![^\W\d_])")  # the 18 of 18x is a coefficient, that of 18/x a dividend
_NUMBER_LEFT = re.compile(r"(?<![^\W_])\d")


def _decimal(digits: str) -> Fraction | None:
    if len(digits) > MAX_DIGITS:
        return None
    whole, _, places = digits.partition(".")
    return Fraction(int(whole + places), 10 ** len(places)) if places else Fraction(int(whole))


def _scaled(value: Fraction, exponent: str | None, power: str | None, scale: str | None) -> Fraction | None:
    """The value times the powers of ten of e-notation, of `* 10^n` and of a scale word; None beyond reason."""
    total = _SCALES[scale] if scale else 0
    for digits in (exponent, power):
        if digits is None:
            continue
        if len(digits.lstrip("+-")) > _MAX_EXPONENT_DIGITS:
            return None
        total += int(digits)
    return value * Fraction(10) ** total


def _expression_value(expression: str) -> Fraction | None:
    """The value of a numeric expression; None for arithmetic that its writer left undone."""
    match = _VALUE.fullmatch(expression)
    if match is None:
        return None
    lead, number, exponent, minus, divisor, power, scale = match.groups()
    value = _decimal(number)
    if value is not None and divisor:
        bottom = _decimal(divisor)
        value = value / bottom if bottom else None
    if value is not None and (exponent or power or scale):
        value = _scaled(value, exponent, power, scale)
    if value is not None and (lead.count("-") + (minus == "-")) % 2:
        value = -value
    return value


def _piece_value(piece: str) -> Fraction | None:
    """The value of the only number in the piece, if nothing beside it changes what it means."""
    piece = _OPENING_MINUS.sub("-", piece, count=1) if _OPENING_MINUS.match(piece) else piece
    match = _EXPRESSION.search(piece)
    if match is None:
        return None
    before, after = piece[: match.start()], piece[match.end() :]
    if _BEFORE_OBSTACLE.search(before) or _VARIABLE.match(after):
        return None
    if _changes_meaning(before) or _changes_meaning(after):
        return None
    return _expression_value(match[0])


def _changes_meaning(rest: str) -> bool:
    return bool(rest) and (_OBSTACLE.search(rest) is not None or _NUMBER_LEFT.search(rest) is not None)


def _side_value(side: str) -> Fraction | None:
    """The value of one side of an equation. Brackets set pieces apart, which have to agree."""
    if side.count("(") != side.count(")") or _FUNCTION.search(side):
        return None  # unbalanced: the equals sign belonged to a remark, as in `20 (since 3*6=18)`
    return _agreed_value(_BRACKET.split(side), _piece_value)


def _clause_value(clause: str) -> Fraction | None:
    """The value of the last side with digits: 18 for each of `3*6 = 18`, `x = 18` and `18 = x`; None for `36/2 =`."""
    if NEGATION.search(clause) or UNDONE.search(clause):
        return None
    return _side_value(next(side for side in reversed(clause.split("=")) if _DIGIT.search(side)))


def _agreed_value(pieces: list[str], value_of: Callable[[str], Fraction | None]) -> Fraction | None:
    """The value that all pieces with digits have in common; None if one has none or two differ."""
    agreed = None
    for piece in pieces:
        if _DIGIT.search(piece):
            value = value_of(piece)
            if value is None or (agreed is not None and agreed != value):
                return None
            agreed = value
        elif piece and (_OBSTACLE.search(piece) or _BEFORE_OBSTACLE.search(piece)):
            return None
    return agreed


def _prepared(text: str) -> str:
    """Lower-case plain text in which a number is one run of digits: without thousands separators."""
    text = plain_text(text).lower()
    if "," in text or THIN_SPACE in text:
        text = _GROUPED.sub(lambda match: match[0].translate(_GROUPING), text)
    return text


def read_answer(text: str) -> Fraction | None:
    r"""Reads the one number that an answer names.

    Args:
        text: The answer alone, such as the content of a `\boxed{}`. Any string; no string raises.

    Returns:
        The number, or None if the text names none, several, or one of more than `MAX_DIGITS` digits, or if the text is
        longer than `MAX_ANSWER_CHARS`.

    >>> [str(read_answer(text)) for text in ("18", "$18.00", "18 dollars", r"1{,}200", r"\frac{36}{2}", "x = -18")]
    ['18', '18', '18', '1200', '18', '-18']
    >>> [read_answer(text) for text in ("18 or 19", "not 18", "17-19", "x > 18", "18x", "9**9**9", "1 200", "eighteen")]
    [None, None, None, None, None, None, None, None]
    """
    text = text.strip()
    match = _PLAIN.fullmatch(text)
    if match is not None:
        return Fraction(int(match[1]))
    if len(text) > MAX_ANSWER_CHARS:
        return None
    return _agreed_value(_SEPARATOR.split(_prepared(text)), _clause_value)


def last_expression(text: str) -> str | None:
    """Finds the last number, or arithmetic with numbers, in running text.

    Args:
        text: A line or so of text; the cost is linear in it.

    Returns:
        The expression in the spelling that `read_answer` takes, or None if there is none.

    >>> last_expression("She sells 3 * 6 = $1,800 of eggs.")
    '$1800'
    >>> last_expression("That makes 36/2")
    '36/2'
    """
    expressions = [match[0] for match in _EXPRESSION.finditer(_EQUALS_MINUS.sub("=-", _prepared(text)))]
    return expressions[-1].strip() if expressions else None
