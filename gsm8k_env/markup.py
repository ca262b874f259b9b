r"""Markup to plain text: what LaTeX, Markdown and typographic characters around a number mean to a reader.

Only what occurs around numbers is known. An unknown LaTeX command is left in place, backslash and all, so that whoever
reads the result can see that something in it was not understood.
"""

import re
from typing import Final

THIN_SPACE: Final = "\u2009"  # stands for every space that may group digits: `1\,200`, and the typographic ones

_MARKUP = re.compile(r"[^ -~]|[\\{}*_`~^]|--|[-=]>|[<>!]=")
_COMMAND = re.compile(r"\\([A-Za-z]+|.)", re.DOTALL)
_FRACTION = re.compile(r"\\frac\s*(?:\{([^{}]+)\}|(\d))\s*(?:\{([^{}]+)\}|(\d))")
_EMPHASIS = re.compile(r"""(?<![^\s.,:;!?()$"'])[*_]+(?=[^\s*_])|(?<=[^\s*_])[*_]+(?![^\s.,:;!?()%$"'])""")
_DEGREES = re.compile(r"\^\s*°")
_LETTER_SCRIPT = re.compile(r"(?<=[^\W\d_])[\^_]-?\d+")  # cm^2, x_1: part of a name
_ARROW = re.compile(r"[-=]>")
_INEQUALITY = re.compile(r"[<>!]=")
_DASHES = re.compile(r"-{2,}")
_MIXED = re.compile(r"(?<![\w/.,])(\d{1,9})[^\S\n]+(\d{1,9})\s*/\s*(\d{1,9})(?![\d/.])")


def _command_meanings() -> dict[str, str]:
    meanings = {char: char for char in "$%#&_"}
    meanings.update(dict.fromkeys(["(", ")", "[", "]", "{", "}", ";", ":", " ", "\n", "\\", "quad", "qquad"], " "))
    meanings.update({",": THIN_SPACE, "thinspace": THIN_SPACE, "!": ""})
    dropped = "text textbf textit textrm textsf mathrm mathbf mathit mathsf boldsymbol bf rm mbox hbox operatorname"
    dropped += " boxed fbox underline emph left right big Big bigl bigr displaystyle textstyle limits"
    meanings.update(dict.fromkeys(dropped.split(), ""))
    meanings.update(dict.fromkeys(["frac", "dfrac", "tfrac", "cfrac"], "\\frac"))
    meanings.update(dict.fromkeys(["times", "cdot", "ast"], "*"))
    meanings.update(dict.fromkeys(["approx", "Rightarrow", "rightarrow", "implies", "to", "equiv"], "="))
    meanings.update({"div": "÷", "circ": "°", "degree": "°"})
    meanings.update({"textdollar": "$", "pounds": "£", "euro": "€", "cent": "¢"})
    return meanings


def _character_meanings() -> dict[int, str]:
    meanings = dict.fromkeys("\u2212\u2010\u2011\u2013\ufe63\uff0d", "-")  # minus signs, hyphens, the en dash
    meanings.update(dict.fromkeys("\u00a0\u202f\u2007", THIN_SPACE))
    meanings.update(dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""))  # zero width
    meanings.update(dict.fromkeys("\u00d7\u00b7\u2219\u22c5", "*"))
    meanings.update(dict.fromkeys("≈→⇒⟹≡", "="))
    meanings.update(dict.fromkeys("\u2044\u2215", "/"))
    meanings.update({power: f"^{digit}" for digit, power in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")})
    meanings.update({"½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3"})
    meanings.update({"\uff04": "$", "\uff05": "%", "\uff0c": ","})  # full width
    meanings.update({"\u2019": "'", "`": "", "~": " "})
    return {ord(char): meaning for char, meaning in meanings.items()}


_COMMANDS: Final = _command_meanings()
_CHARACTERS: Final = _character_meanings()


def _command(match: re.Match[str]) -> str:
    return _COMMANDS.get(match[1], match[0])


def _fraction(match: re.Match[str]) -> str:
    return f" {match[1] or match[2]}/{match[3] or match[4]}"


def _mixed_number(match: re.Match[str]) -> str:
    whole, top, bottom = int(match[1]), int(match[2]), int(match[3])
    return f"{whole * bottom + top}/{bottom}" if top < bottom else match[0]


def plain_text(text: str) -> str:
    r"""Rewrites LaTeX, Markdown and typographic characters as plain ASCII arithmetic and words.

    Every step is one pass of a regular expression; call it on an answer or a line, not on a whole completion.

    Args:
        text: Any string.

    Returns:
        The plain text. Mixed numbers become fractions; spaces that may group digits become `THIN_SPACE`.

    >>> plain_text(r"\boxed{\$\dfrac{36}{2}}").strip()
    '$ 36/2'
    >>> plain_text("**\u221218** m²")
    '-18 m'
    >>> plain_text(r"2\frac{1}{2} \times x")
    '5/2 * x'
    >>> plain_text(r"\sqrt{18}")
    '\\sqrt18'
    """
    if not _MARKUP.search(text):
        return _MIXED.sub(_mixed_number, text) if "/" in text else text
    text = text.replace("{,}", ",").translate(_CHARACTERS)
    if "\\" in text:
        text = _FRACTION.sub(_fraction, _COMMAND.sub(_command, text))
    text = text.replace("{", "").replace("}", "")
    text = _LETTER_SCRIPT.sub("", _DEGREES.sub("°", text))
    text = _DASHES.sub(" ", _INEQUALITY.sub("≠", _ARROW.sub("=", text)))
    text = _EMPHASIS.sub("", text)
    return _MIXED.sub(_mixed_number, text)
