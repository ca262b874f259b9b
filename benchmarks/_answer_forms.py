r"""How answers are written: a table of surface forms, each with what a careful reader takes it to say.

The last explicit final answer counts; with none, the last number; what is written means what a reader takes it to mean,
and numbers are compared exactly; unfinished text gives no answer. Our grader reads no English grammar, so it takes the
two forms called "denied" for what they deny. A form is a `string.Template` with "@" for "$":

    @steps      the worked steps of the official solution, without their calculator annotations
    @n          the ground truth, 1200; @grouped 1,200; @thin 1\,200; @braced 1{,}200
    @opposite   -1200; @typographic the same with a Unicode minus
    @twice      2400; @tenfold 12000; @other 1207, a wrong answer
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from string import Template
from typing import Final, Literal, NamedTuple, get_args

from gsm8k_env.problems import Problem

Family = Literal["#### official", "#### dressed", "boxed", "boxed dressed", "phrase", "last number", "several", "cut"]
FAMILIES: Final[tuple[Family, ...]] = get_args(Family)

RIGHT, WRONG = True, False


class Form(NamedTuple):
    """One way to write an answer."""

    name: str
    template: str
    verdict: bool  # whether a reader takes it for the ground truth
    smallest: int = 0  # rendered only for ground truths of at least this size, for which the form is what it says
    truth: str = "@n"  # the ground truth it is graded against


FORMS: Final[dict[Family, tuple[Form, ...]]] = {
    # As the official solutions end, and what their authors' pattern `#### (\-?[0-9\.\,]+)` reads.
    "#### official": (
        Form("number", "@steps\n#### @n", RIGHT),
        Form("thousands separator", "@steps\n#### @grouped", RIGHT, 1000),
        Form("negative", "@steps\n#### @opposite", RIGHT, truth="@opposite"),
        Form("text below", "@steps\n#### @n\n\nI hope this helps!", RIGHT),
        Form("another number below", "@steps\n#### @n\nThese were 2 steps.", RIGHT),
        Form("another answer", "@steps\n#### @other", WRONG),
        Form("ten times", "@steps\n#### @tenfold", WRONG, 1),
        Form("wrong sign", "@steps\n#### @opposite", WRONG, 1),
        Form("half more", "@steps\n#### @n.5", WRONG),
    ),
    "#### dressed": (
        Form("dollar", "@steps\n#### $@n", RIGHT),
        Form("dollar and separator", "@steps\n#### $@grouped", RIGHT, 1000),
        Form("full stop", "@steps\n#### @n.", RIGHT),
        Form("zero cents", "@steps\n#### @n.00", RIGHT),
        Form("unit", "@steps\n#### @n dollars", RIGHT),
        Form("percent", "@steps\n#### @n%", RIGHT),
        Form("bold", "@steps\n#### **@n**", RIGHT),
        Form("no space", "@steps\n####@n", RIGHT),
        Form("next line", "@steps\n####\n@n", RIGHT),
        Form("equation", "@steps\n#### x = @n", RIGHT),
        Form("division", "@steps\n#### @twice/2", RIGHT),
        Form("Unicode minus", "@steps\n#### @typographic", RIGHT, truth="@opposite"),
        Form("two numbers", "@steps\n#### @n or @other", WRONG),
        Form("fraction of it", "@steps\n#### @n/3", WRONG, 1),
        Form("denied", "@steps\n#### not @n", WRONG),
    ),
    "boxed": (
        Form("number", r"@steps So it is \boxed{@n}.", RIGHT),
        Form("in dollars", r"@steps So it is $\boxed{@n}$.", RIGHT),
        Form("displayed", "@steps\n\\[\n\\boxed{@n}\n\\]", RIGHT),
        Form("spaces", r"@steps So it is \boxed{ @n }.", RIGHT),
        Form("negative", r"@steps So it is $\boxed{@opposite}$.", RIGHT, truth="@opposite"),
        Form("another number behind", r"@steps So it is $\boxed{@n}$, which took 2 steps.", RIGHT),
        Form("another answer", r"@steps So it is $\boxed{@other}$.", WRONG),
        Form("another answer, gold behind", r"@steps So it is $\boxed{@other}$, not @n.", WRONG),
        Form("ten times", r"@steps So it is $\boxed{@tenfold}$.", WRONG, 1),
        Form("wrong sign", r"@steps So it is $\boxed{@opposite}$.", WRONG, 1),
        Form("half more", r"@steps So it is $\boxed{@n.5}$.", WRONG),
    ),
    "boxed dressed": (
        Form("zero cents", r"@steps So it is $\boxed{@n.00}$.", RIGHT),
        Form("full stop", r"@steps So it is $\boxed{@n.}$", RIGHT),
        Form("dollar", r"@steps So it is $\boxed{\$@n}$.", RIGHT),
        Form("thousands separator", r"@steps So it is $\boxed{@grouped}$.", RIGHT, 1000),
        Form("braced separator", r"@steps So it is $\boxed{@braced}$.", RIGHT, 1000),
        Form("thin space", r"@steps So it is $\boxed{@thin}$.", RIGHT, 1000),
        Form("text", r"@steps So it is $\boxed{\text{@n}}$.", RIGHT),
        Form("text of a unit", r"@steps So it is $\boxed{@n\text{ dollars}}$.", RIGHT),
        Form("unit", r"@steps So it is \boxed{@n dollars}.", RIGHT),
        Form("bold", r"@steps So it is $\boxed{\mathbf{@n}}$.", RIGHT),
        Form("Markdown around", r"@steps So it is **\boxed{@n}**.", RIGHT),
        Form("Markdown inside", r"@steps So it is \boxed{**@n**}.", RIGHT),
        Form("percent", r"@steps So it is $\boxed{@n\%}$.", RIGHT),
        Form("equation", r"@steps So it is $\boxed{x = @n}$.", RIGHT),
        Form("fraction", r"@steps So it is $\boxed{\frac{@twice}{2}}$.", RIGHT),
        Form("display fraction", r"@steps So it is $\boxed{\dfrac{@twice}{2}}$.", RIGHT),
        Form("Unicode minus", r"@steps So it is $\boxed{@typographic}$.", RIGHT, truth="@opposite"),
        Form("two numbers", r"@steps So it is $\boxed{@n \text{ or } @other}$.", WRONG),
        Form("fraction of it", r"@steps So it is $\boxed{\frac{@n}{3}}$.", WRONG, 1),
        Form("multiple of x", r"@steps So it is $\boxed{@{n}x}$.", WRONG),
        Form("nothing", r"@steps So it is $\boxed{}$.", WRONG),
    ),
    "phrase": (
        Form("number", "@steps\nThe answer is @n.", RIGHT),
        Form("dollar", "@steps\nThe final answer is $@n.", RIGHT),
        Form("separator", "@steps\nThe answer is @grouped.", RIGHT, 1000),
        Form("unit", "@steps\nThe answer is @n dollars.", RIGHT),
        Form("zero cents", "@steps\nThe answer is @n.00.", RIGHT),
        Form("bold", "@steps\nThe final answer is **@n**.", RIGHT),
        Form("bold label", "@steps\n**Final answer:** @n", RIGHT),
        Form("formula", "@steps\nThe final answer is $@n$.", RIGHT),
        Form("Unicode minus", "@steps\nThe answer is @typographic.", RIGHT, truth="@opposite"),
        Form("reason behind", "@steps\nThe answer is @n, since that took 2 steps.", RIGHT),
        Form("remark behind", "@steps\nThe answer is @n.\nLet me know if you want 3 other ways.", RIGHT),
        Form("another answer", "@steps\nThe answer is @other.", WRONG),
        Form("another answer, gold behind", "@steps\nThe answer is @other, although @n came close.", WRONG),
        Form("half more", "@steps\nThe answer is @n.5.", WRONG),
        Form("ten times", "@steps\nThe answer is @tenfold.", WRONG, 1),
        Form("two numbers", "@steps\nThe answer is @n or @other.", WRONG),
        Form("denied", "@steps\nThe answer is not @n.", WRONG),
    ),
    "last number": (
        Form("number", "@steps\nThat makes @n", RIGHT),
        Form("sentence", "@steps\nThat makes @n in all.", RIGHT),
        Form("full stop", "@steps\nThat makes @n.", RIGHT),
        Form("dollar", "@steps\nThat makes $@n", RIGHT),
        Form("dollar and separator", "@steps\nThat makes $@grouped.", RIGHT, 1000),
        Form("zero cents", "@steps\nThat makes $@n.00", RIGHT),
        Form("percent", "@steps\nThat makes @n%.", RIGHT),
        Form("bold", "@steps\nThat makes **@n**", RIGHT),
        Form("equation", "@steps\n@other - 7 = @n", RIGHT),
        Form("alone", "@n", RIGHT),
        Form("Unicode minus", "@steps\nThat makes @typographic", RIGHT, truth="@opposite"),
        Form("another number", "@steps\nThat makes @other.", WRONG),
        Form("half more", "@steps\nThat makes @n.5", WRONG),
        Form("ten times", "@steps\nThat makes @tenfold.", WRONG, 1),
        Form("words alone", "That makes quite a lot.", WRONG),
    ),
    "several": (
        Form("#### mended", "@steps\n#### @other\nWait, that is wrong.\n#### @n", RIGHT),
        Form("#### spoilt", "@steps\n#### @n\nWait, that is wrong.\n#### @other", WRONG),
        Form("boxed mended", r"@steps So $\boxed{@other}$. No, wait: $\boxed{@n}$.", RIGHT),
        Form("boxed spoilt", r"@steps So $\boxed{@n}$. No, wait: $\boxed{@other}$.", WRONG),
        Form("phrase mended", "@steps\nThe answer is @other.\nNo, wait. The answer is @n.", RIGHT),
        Form("phrase spoilt", "@steps\nThe answer is @n.\nNo, wait. The answer is @other.", WRONG),
        Form("boxed, then ####", "@steps So $\\boxed{@other}$. No, wait.\n#### @n", RIGHT),
        Form("####, then boxed", "@steps\n#### @n\nNo, wait: $\\boxed{@other}$.", WRONG),
        Form("twice the same", "@steps\n#### @n\nThe answer is $\\boxed{@n}$.", RIGHT),
        Form("thought, then ####", "<think>@steps Or #### @other?</think>\n#### @n", RIGHT),
        Form("thought, then boxed", "<think>@steps Or #### @n?</think>\nSo $\\boxed{@other}$.", WRONG),
    ),
    "cut": (
        Form("empty", "", WRONG),
        Form("white space", "\n \n", WRONG),
        Form("equation without its result", "@steps\nSo each gets @twice / 2 =", WRONG),
        Form("box left open", r"@steps So it is \boxed{@n", WRONG),
        Form("text in a box left open", r"@steps So it is $\boxed{\text{@n", WRONG),
        Form("second box left open", r"@steps So $\boxed{@n}$. No, wait: $\boxed{@other", WRONG),
        Form("thought left open", "<think>@steps That makes @n", WRONG),
        Form("#### in a thought left open", "<think>@steps\n#### @n", WRONG),
        Form("boxed in a thought left open", r"<think>@steps So $\boxed{@n}$. Or is it", WRONG),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One completion to grade."""

    family: Family
    form: Form
    completion: str
    ground_truth: str


class _AtTemplate(Template):
    delimiter = "@"


_ANNOTATION = re.compile(r"<<[^<>]*>>")


def cases(problems: Iterable[Problem]) -> Iterator[Case]:
    """Yields every form of every problem's answer, the problems one after the other.

    Args:
        problems: Problems whose ground truth is a whole number, as all of GSM8K's are.
    """
    for problem in problems:
        number = int(problem.ground_truth.replace(",", ""))
        fields = _fields(number, steps=_ANNOTATION.sub("", problem.solution).rpartition("####")[0].strip())
        for family, forms in FORMS.items():
            for form in forms:
                if abs(number) >= form.smallest:
                    yield Case(
                        family=family,
                        form=form,
                        completion=_AtTemplate(form.template).substitute(fields),
                        ground_truth=_AtTemplate(form.truth).substitute(fields),
                    )


def _fields(number: int, *, steps: str) -> dict[str, str]:
    grouped = f"{number:,}"
    return {
        "steps": steps,
        "n": str(number),
        "grouped": grouped,
        "thin": grouped.replace(",", r"\,"),
        "braced": grouped.replace(",", "{,}"),
        "opposite": str(-number),
        "typographic": str(-number).replace("-", "\u2212"),
        "twice": str(2 * number),
        "tenfold": str(10 * number),
        "other": str(number + 7),
    }
