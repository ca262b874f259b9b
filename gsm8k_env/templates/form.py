"""The form of a template: a question and its steps, with fields in braces that a draw of words and numbers fills.

Fields, where ``a`` and ``b`` are numbers, ``item`` is a noun and ``who`` is a person:

    {a}                 3
    {a item}            3 apples            the noun agrees with the number
    {k.times}           twice, 3 times      a factor in words
    {k.part}            half, a third       a divisor in words
    {item} {item.one} {item.a}              apples, apple, an apple
    {who} {who.he} {who.him} {who.his} {who.He} {who.His}
    {a * b = c}         3 * 4 = <<3*4=12>>12
    {a * b = $c}        3 * 4 = $<<3*4=12>>12
    {a * b = c item}    3 * 4 = <<3*4=12>>12 apples

An equation stands in a step, one in each, and gives its result a name for later steps. The annotation and the text
around it come from that one equation, so they cannot disagree.
"""

import operator
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Any, TypeGuard

from gsm8k_env.templates.words import PEOPLE, Word

Scene = dict[str, Any]  # what one draw chose: numbers (int) and words (Word) by field name
Draw = Sequence[int] | Sequence[Word] | str  # a pool to pick from, or a formula such as "n * each" over earlier numbers

PEOPLE_FIELDS = ("who", "friend", "third")  # drawn from `words.PEOPLE`, before all other words

# The largest number of a problem, by level: a very small model can learn two steps of mostly two-digit arithmetic.
LARGEST = {1: 150, 2: 150, 3: 10_000, 4: 20_000, 5: 20_000}

_FIELD = re.compile(
    r"""\{(?:(?P<left>\w+)\ (?P<op>[-+*/])\ (?P<right>\w+)\ =\ (?P<currency>\$?)(?P<result>\w+)(?:\ (?P<unit>\w+))?
    | (?P<number>\w+)\ (?P<noun>\w+)
    | (?P<name>\w+)(?:\.(?P<form>times|part|one|a|he|him|his|He|His))?)\}""",
    re.VERBOSE,
)
_ANY_FIELD = re.compile(r"\{[^{}]*\}")
_FORMULA = re.compile(r"(\w+) ([-+*/]) (\w+)")
_PARTS = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth"}


def span(low: int, high: int, step: int = 1) -> range:
    """The numbers from low to high, both included.

    >>> list(span(10, 30, 10))
    [10, 20, 30]
    """
    return range(low, high + 1, step)


def below(rng: Random, n: int) -> int:
    """A uniform integer in [0, n).

    Python promises equal sequences across versions for `random()` alone, not for `choice` or `randrange`
    (https://docs.python.org/3/library/random.html#notes-on-reproducibility).
    """
    return int(rng.random() * n)


def _exact_quotient(a: int, b: int) -> int:
    """The quotient if it is whole, else 0, which no operation allows."""
    quotient, rest = divmod(a, b)
    return 0 if rest else quotient


_OPERATIONS: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _exact_quotient,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """result = left op right, each operand a field name or a literal number."""

    result: str
    left: str
    op: str
    right: str
    allowed: range  # a draw whose result lies outside is thrown away

    def apply(self, scene: Scene) -> int:
        """The value for the numbers of a scene; 0 for a quotient that is not whole."""
        return _OPERATIONS[self.op](_value(scene, self.left), _value(scene, self.right))


def _value(scene: Scene, operand: str) -> int:
    return int(operand) if operand.isdigit() else scene[operand]


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One kind of problem: what to draw, the question, and one sentence a step. Build it with `template`."""

    name: str
    question: str  # text with fields
    steps: tuple[str, ...]  # text with fields, one equation in each
    operations: tuple[Operation, ...]  # of the steps, in order
    pools: Mapping[str, Sequence[int]]  # numbers to pick
    formulas: tuple[Operation, ...]  # numbers that follow from those picked
    words: Mapping[str, Sequence[Word]]

    @property
    def level(self) -> int:
        """The number of steps."""
        return len(self.steps)

    def draw(self, rng: Random) -> Scene:
        """Picks numbers until each given or computed one is whole and in its range; then words, all different."""
        scene = self.draw_numbers(rng)
        while scene is None:
            scene = self.draw_numbers(rng)
        taken: list[Word] = []
        for field, pool in self.words.items():
            word = pool[below(rng, len(pool))]
            while word in taken:
                word = pool[below(rng, len(pool))]
            taken.append(word)
            scene[field] = word
        return scene

    def draw_numbers(self, rng: Random) -> Scene | None:
        """One try at the numbers; None if one of them does not fit."""
        scene: Scene = {field: pool[below(rng, len(pool))] for field, pool in self.pools.items()}
        for operation in self.formulas + self.operations:
            value = operation.apply(scene)
            if value not in operation.allowed:
                return None
            scene[operation.result] = value
        return scene

    def write_question(self, scene: Scene) -> str:
        """The question for a scene."""
        return _fill(self.question, scene)

    def write_steps(self, scene: Scene) -> tuple[str, ...]:
        """The worked steps for a scene, one line each."""
        return tuple(_fill(step, scene) for step in self.steps)

    def answer(self, scene: Scene) -> int:
        """The result of the last step."""
        return scene[self.operations[-1].result]


def template(
    name: str, question: str, *steps: str, within: Mapping[str, range] = MappingProxyType({}), **draws: Draw
) -> Template:
    """Builds a template.

    Args:
        name: A slug, unique among all templates.
        question: The question's text with fields.
        *steps: One sentence a step, each with one equation.
        within: By field, the numbers allowed for a formula or a result, all above 0; by default 1 to `LARGEST`.
        **draws: By field, in order: a sequence of numbers or words to pick from, or a formula over earlier numbers.
            With a formula, a number in the question follows from the result it shall lead to, as total="n * each"
            does for a division. The fields of `PEOPLE_FIELDS` are people without being named here.

    Raises:
        ValueError: A field or formula that is not of the forms above, or a step without exactly one equation.
    """
    allowed = defaultdict(lambda: span(1, LARGEST[len(steps)]), within)
    texts = " ".join((question, *steps))
    if unknown := _ANY_FIELD.search(_FIELD.sub("", texts)):
        raise ValueError(
            f"template {name!r}: unknown field {unknown[0]}; the forms are listed in gsm8k_env/templates/form.py"
        )
    named = {field["name"] for field in _FIELD.finditer(texts)}
    draws = {field: PEOPLE for field in PEOPLE_FIELDS if field in named} | draws
    return Template(
        name=name,
        question=question,
        steps=steps,
        operations=tuple(_step_operation(name, step, allowed) for step in steps),
        pools={field: pool for field, pool in draws.items() if _is_numbers(pool)},
        formulas=tuple(_formula(name, field, rule, allowed) for field, rule in draws.items() if isinstance(rule, str)),
        words={field: pool for field, pool in draws.items() if _is_words(pool)},
    )


def _is_numbers(draw: Draw) -> TypeGuard[Sequence[int]]:
    return isinstance(draw[0], int)


def _is_words(draw: Draw) -> TypeGuard[Sequence[Word]]:
    return not isinstance(draw, str) and not _is_numbers(draw)


def _step_operation(name: str, step: str, allowed: Mapping[str, range]) -> Operation:
    found = [field for field in _FIELD.finditer(step) if field["op"]]
    if len(found) != 1:
        raise ValueError(f"template {name!r}: a step needs exactly one equation like {{a * b = c}}, got {step!r}")
    left, op, right, result = found[0].group("left", "op", "right", "result")
    return Operation(result=result, left=left, op=op, right=right, allowed=allowed[result])


def _formula(name: str, field: str, rule: str, allowed: Mapping[str, range]) -> Operation:
    match = _FORMULA.fullmatch(rule)
    if match is None:
        raise ValueError(f"template {name!r}: the formula of {field!r} must look like 'a * b', got {rule!r}")
    left, op, right = match.groups()
    return Operation(result=field, left=left, op=op, right=right, allowed=allowed[field])


def _fill(text: str, scene: Scene) -> str:
    return _FIELD.sub(lambda field: _written(field, scene), text)


def _written(field: re.Match[str], scene: Scene) -> str:
    left, op, right, currency, result, unit, number, noun, name, form = field.groups()
    if op:
        a, b, c = _value(scene, left), _value(scene, right), scene[result]
        return f"{a} {op} {b} = {currency}<<{a}{op}{b}={c}>>{_counted(c, scene[unit]) if unit else c}"
    if noun:
        return _counted(scene[number], scene[noun])
    value = scene[name]
    if form is None:
        return str(value)
    if form == "part":
        return _PARTS[value]
    if form == "times":
        return "twice" if value == 2 else f"{value} times"
    return getattr(value, form)


def _counted(number: int, noun: Any) -> str:
    return f"{number} {noun.one if number == 1 else noun.many}"
