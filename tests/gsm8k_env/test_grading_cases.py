r"""The rules of grading by example: each line is what a careful reader would say of one completion."""

from typing import NamedTuple

import pytest

from gsm8k_env.grading import GradingMode, grade


class Case(NamedTuple):
    name: str
    completion: str
    truth: str
    mode: GradingMode
    correct: bool
    method: str | None


def boxed(name: str, content: str, truth: str, correct: bool) -> Case:
    return Case(name, f"So she makes \\boxed{{{content}}}.", truth, "boxed", correct, "boxed")


def hashed(name: str, content: str, truth: str, correct: bool) -> Case:
    return Case(name, f"3 * 7 = 21\n#### {content}", truth, "strict", correct, "hash")


def flexible(name: str, completion: str, truth: str, correct: bool, method: str | None) -> Case:
    return Case(name, completion, truth, "flexible", correct, method)


SURFACE_FORMS = [
    boxed("integer", "18", "18", True),
    boxed("other-integer", "17", "18", False),
    boxed("decimal-zeros", "18.00", "18", True),
    boxed("trailing-period", "18.", "18", True),
    boxed("leading-zeros", "0018", "18", True),
    boxed("not-an-integer", "18.5", "18", False),
    boxed("decimal", "18.50", "18.5", True),
    boxed("no-float-rounding", "17.99999999999999999999", "18", False),
    boxed("bare-decimal-point", ".5", "0.5", True),
    boxed("dollar", "$18", "18", True),
    boxed("escaped-dollar", r"\$18", "18", True),
    boxed("dollar-space", r"\$ 18", "18", True),
    boxed("euro", "€18", "18", True),
    boxed("country-dollar", "US$18", "18", True),
    boxed("rupees", "Rs.18", "18", True),
    boxed("unit", "18 dollars", "18", True),
    boxed("unit-touching", "18kg", "18", True),
    boxed("unit-square", r"18\text{ cm}^2", "18", True),
    boxed("unit-superscript", "18 m²", "18", True),
    boxed("unit-rate", "18 km/h", "18", True),
    boxed("unit-before", r"\text{Total: } 18", "18", True),
    boxed("degrees", r"18^\circ", "18", True),
    boxed("percent", "18%", "18", True),
    boxed("percent-latex", r"18\%", "18", True),
    boxed("percent-is-no-fraction", "18%", "0.18", False),
    boxed("comma", "1,200", "1200", True),
    boxed("comma-in-truth", "1200", "1,200", True),
    boxed("comma-millions", "$1,200,000.50", "1200000.5", True),
    boxed("comma-latex", "1{,}200", "1200", True),
    boxed("comma-negative-space", r"1,\!200", "1200", True),
    boxed("thin-space-latex", r"1\,200", "1200", True),
    boxed("thin-space", "1\u2009200", "1200", True),
    boxed("no-break-space", "1\u00a0200", "1200", True),
    boxed("plain-space-is-two-numbers", "1 200", "1200", False),
    boxed("bad-grouping", "1,2", "12", False),
    boxed("bad-grouping-is-not-its-end", "1,2", "2", False),
    boxed("bad-grouping-length", "1,2000", "12000", False),
    boxed("indian-grouping", "12,34,567", "1234567", False),
    boxed("zero-grouping", "0,018", "18", False),
    boxed("list", "3, 4", "4", False),
    boxed("bold", "**18**", "18", True),
    boxed("bold-math", r"\mathbf{18}", "18", True),
    boxed("text", r"\text{18}", "18", True),
    boxed("text-unit", r"\text{18 apples}", "18", True),
    boxed("unit-text", r"18\ \text{apples}", "18", True),
    boxed("math-dollars", "$18$", "18", True),
    boxed("math-parentheses", r"\(18\)", "18", True),
    boxed("left-right", r"\left(18\right)", "18", True),
    boxed("code", "`18`", "18", True),
    boxed("fraction", r"\frac{36}{2}", "18", True),
    boxed("dfrac", r"\dfrac{36}{2}", "18", True),
    boxed("short-fraction", r"\frac12", "1/2", True),
    boxed("slash", "36/2", "18", True),
    boxed("negative-fraction", r"-\frac{1}{2}", "-0.5", True),
    boxed("fraction-signs-cancel", r"\frac{-36}{-2}", "18", True),
    boxed("third-is-exact", r"\frac{1}{3}", "0.333333333333333333", False),
    boxed("division-by-zero", "18/0", "18", False),
    boxed("mixed-number", "2 1/2", "2.5", True),
    boxed("mixed-latex", r"2\frac{1}{2}", "5/2", True),
    boxed("mixed-glyph", "2½", "2.5", True),
    boxed("number-beside-improper-fraction", "3 36/2", "21", False),
    boxed("fraction-of-variable", r"\frac{18}{x}", "18", False),
    boxed("nested-fraction", r"\frac{\frac{36}{2}}{1}", "18", False),
    boxed("negative", "-18", "-18", True),
    boxed("negative-is-not-positive", "-18", "18", False),
    boxed("unicode-minus", "\u221218", "-18", True),
    boxed("en-dash-minus", "\u201318", "-18", True),
    boxed("detached-minus", "- 18", "-18", True),
    boxed("minus-dollar", "-$18", "-18", True),
    boxed("dollar-minus", "$-18", "-18", True),
    boxed("plus", "+18", "18", True),
    boxed("minus-zero", "-0", "0", True),
    boxed("minus-parenthesis", "-(18)", "18", False),
    boxed("e-notation", "1.2e3", "1200", True),
    boxed("power-of-ten", r"1.2 \times 10^{3}", "1200", True),
    boxed("endless-exponent", "1e999999999", "1", False),
    boxed("million", "1.5 million", "1500000", True),
    boxed("million-as-unit", r"4 \text{ million}", "4", True),
    boxed("thousand-k", "18k", "18000", True),
    boxed("full-width-digits", "\uff11\uff18", "18", True),
    boxed("arabic-digits", "\u0661\u0668", "18", True),
    boxed("superscript-is-no-digit", "¹⁸", "18", False),
    boxed("spelt-out", "eighteen", "18", False),
    boxed("empty", "", "18", False),
    boxed("spaces-and-lines", "\n  18\n", "18", True),
]

ONE_READING_ONLY = [
    boxed("equation", "x = 18", "18", True),
    boxed("equation-reversed", "18 = x", "18", True),
    boxed("equation-subscript", "x_{1} = 18", "18", True),
    boxed("equation-worked", r"3 \times 6 = 18", "18", True),
    boxed("equation-result-not-operand", r"3 \times 6 = 18", "6", False),
    boxed("equation-in-brackets", "(3 + 6) * 2 = 18", "18", True),
    boxed("two-equations", "x = 18, y = 20", "20", False),
    boxed("remark-disagrees", "20 (since 3*6=18)", "18", False),
    boxed("remark-unit", "18 (dollars)", "18", True),
    boxed("alternatives", "18 or 19", "18", False),
    boxed("alternatives-second", "18 or 19", "19", False),
    boxed("alternatives-in-brackets", "18 (or 19)", "18", False),
    boxed("both", "18 and 19", "18", False),
    boxed("same-number-twice", "18, i.e. 18.00", "18", True),
    boxed("range", "17-18", "18", False),
    boxed("range-en-dash", "17\u201318", "18", False),
    boxed("range-words", "17 to 18", "18", False),
    boxed("two-units", r"18 \text{ hours } 30 \text{ minutes}", "18", False),
    boxed("and-a-half", "18 and a half", "18", False),
    boxed("negation", r"\text{not } 18", "18", False),
    boxed("unequal", r"x \neq 18", "18", False),
    boxed("greater", "x > 18", "18", False),
    boxed("at-least", r"x \geq 18", "18", False),
    boxed("plus-minus", r"18 \pm 1", "18", False),
    boxed("coefficient", "18x", "18", False),
    boxed("pi", r"18\pi", "18", False),
    boxed("root", r"\sqrt{18}", "18", False),
    boxed("function", "f(18)", "18", False),
    boxed("power", "18^2", "18", False),
    boxed("power-of-powers", "9**9**9", "9", False),
    boxed("product-undone", "3 * 6", "18", False),
    boxed("difference-with-variable", "x - 18", "18", False),
    boxed("version", "1.8.0", "1.8", False),
    boxed("ratio", "18:1", "18", False),
    boxed("hexadecimal", "0x12", "18", False),
    boxed("recurring", r"18.\overline{3}", "18", False),
]

HASHES = [
    hashed("official", "18", "18", True),
    hashed("wrong", "17", "18", False),
    hashed("dollar", "$18.00", "18", True),
    hashed("comma", "1,080", "1080", True),
    hashed("equation", "3*6=18", "18", True),
    hashed("variable", "x = 18", "18", True),
    hashed("bold", "**18**", "18", True),
    hashed("boxed", r"\boxed{18}", "18", True),
    hashed("sentence-goes-on", "18. Thus she has 3 left.", "18", True),
    hashed("because", "18 because 3 * 6 = 18", "18", True),
    hashed("list", "18, 19", "19", False),
    hashed("end-token", "18<|im_end|>", "18", True),
    hashed("end-tag", "18</s>", "18", True),
    hashed("next-problem", "18\n\nQuestion: Tom has 5 apples.", "18", True),
    hashed("windows-line", "18\r\n", "18", True),
    hashed("detached-minus", "- 18", "-18", True),
    hashed("next-line", "\n18", "18", True),
    Case("no-space", "so ####18", "18", "strict", True, "hash"),
    Case("bold-outside", "**#### 18**", "18", "strict", True, "hash"),
    Case("last-wins", "#### 17\n#### 18", "18", "strict", True, "hash"),
    Case("last-wins-wrong", "#### 18\n#### 17", "18", "strict", False, "hash"),
    Case("heading-after", "#### 18\n#### Explanation\nShe sells 5.", "18", "strict", True, "hash"),
    Case("numbered-heading", "#### 18\n#### 2. Check\nIt holds.", "18", "strict", True, "hash"),
    Case("only-a-heading", "#### Step 18: sell\nShe sells.", "18", "strict", False, None),
    Case("five-hashes", "##### 18", "18", "strict", False, None),
    Case("three-hashes", "### 18", "18", "strict", False, None),
    Case("box-in-strict", r"\boxed{18}", "18", "strict", False, None),
    Case("phrase-in-strict", "The answer is 18", "18", "strict", False, None),
    Case("open-box-before-hash-in-strict", "\\boxed{17\n#### 18", "18", "strict", True, "hash"),
    Case("hash-in-boxed", "#### 18", "18", "boxed", False, None),
]

BOXES = [
    Case("last-box", r"\boxed{17} no, \boxed{18}", "18", "boxed", True, "boxed"),
    Case("nested", r"\boxed{\boxed{18}}", "18", "boxed", True, "boxed"),
    Case("space-before-brace", r"\boxed {18}", "18", "boxed", True, "boxed"),
    Case("escaped-brace", r"\boxed{\{18\}}", "18", "boxed", True, "boxed"),
    Case("unclosed", r"\boxed{18", "18", "boxed", False, None),
    Case("unclosed-after-closed", r"\boxed{18} or rather \boxed{19", "18", "boxed", False, None),
    Case("unclosed-inner", r"\boxed{\text{18}", "18", "boxed", False, None),
    Case("command-without-brace", r"\boxed 18", "18", "boxed", False, None),
]

PHRASES = [
    flexible("the-answer-is", "The answer is 18.", "18", True, "phrase"),
    flexible("decimal-and-stop", "The answer is 18.5.", "18.5", True, "phrase"),
    flexible("capitals", "THE ANSWER IS 18", "18", True, "phrase"),
    flexible("final-answer", "Final answer: 18", "18", True, "phrase"),
    flexible("colon-dollar", "The answer is: $18", "18", True, "phrase"),
    flexible("line-start", "3 * 6 is it.\nAnswer: 18", "18", True, "phrase"),
    flexible("bold-label", "**Answer:** 18", "18", True, "phrase"),
    flexible("bold-all", "**Answer: 18**", "18", True, "phrase"),
    flexible("bold-number", "The final answer is **18**.", "18", True, "phrase"),
    flexible("next-line", "The answer is:\n\n**18**", "18", True, "phrase"),
    flexible("latex", r"The answer is \(18\).", "18", True, "phrase"),
    flexible("to-the-question", "The answer to the question is 18 eggs.", "18", True, "phrase"),
    flexible("would-be", "So the answer would be 18.", "18", True, "phrase"),
    flexible("worked", "The answer is 3 * 6 = 18.", "18", True, "phrase"),
    flexible("because", "The answer is 18 because 3 * 7 is 21.", "18", True, "phrase"),
    flexible("which-is", "The answer is 18, which is 3 less than 21.", "18", True, "phrase"),
    flexible("text-after", "The answer is 18.\n\nQuestion: what is 5 + 5?", "18", True, "phrase"),
    flexible("last-phrase", "The answer is 17. No, the answer is 18.", "18", True, "phrase"),
    flexible("not-the-other", "The answer is 18, not 17.", "18", True, "phrase"),
    flexible("not-the-other-truth", "The answer is 18, not 17.", "17", False, "phrase"),
    flexible("not-but", "The answer is not 17 but 18.", "18", True, "phrase"),
    flexible("alternatives", "The answer is 18 or 19.", "18", False, "phrase"),
    flexible("hedge", "The answer is 18, but maybe 19.", "18", False, "phrase"),
    flexible("between", "The answer is between 17 and 18.", "18", False, "phrase"),
    flexible("about", "The answer is about 18.", "18", True, "phrase"),
    flexible("no-full-stop-before", "He did not have any\nThe answer is 18", "18", True, "phrase"),
    flexible("condition-in-clause-before", "If he sells 9 eggs, the answer is 18.", "18", True, "phrase"),
    flexible("so-the-answer", "There are no eggs left so the answer is 18", "18", True, "phrase"),
    flexible("not", "The answer is not 18.", "18", False, None),
    flexible("isnt", "The answer isn't 18.", "18", False, None),
    flexible("isnt-curly", "The answer isn\u2019t 18.", "18", False, None),
    flexible("cannot", "The answer cannot be 18.", "18", False, None),
    flexible("dont-think", "I don't think the answer is 18", "18", False, None),
    flexible("if", "Check whether the answer is 18", "18", False, None),
    flexible("wrong-answer", "A wrong answer is 18.", "18", False, None),
    flexible("somebody-else", "Tom's answer is 18.", "18", False, None),
    flexible("is-not-the-answer", "18 is not the answer.", "18", False, None),
    flexible("not-then-right", "The answer is not 17. It is 18.", "18", True, "last_number"),
    flexible("verb-to-answer", "To answer this: 3 eggs at 6 make 18", "18", True, "last_number"),
    flexible("answered-questions", "He answered 3 questions and won 18", "18", True, "last_number"),
    flexible("undone", "There are 9 bags. Each gets 36 / 2 =", "18", False, None),
    flexible("undone-currency", "One hat costs 36 / 2 = $", "18", False, None),
    flexible("undone-question", "36 / 2 apples = ?", "18", False, None),
    flexible("undone-phrase", "The answer is 36 / 2 =", "18", False, "phrase"),
    flexible("undone-hash", "#### 36 / 2 =", "18", False, "hash"),
    flexible("undone-box", "\\boxed{36/2 =}", "18", False, "boxed"),
    flexible("done-the-other-way", "18 = x", "18", True, "last_number"),
    flexible("express-the-answer", "To express the answer as a percentage: 6/9 = 66.6%; 67", "67", True, "last_number"),
    flexible(
        "to-the-answer", "Add a dozen to the answer of step 1: 6 + 12 = 18. Less 1: 17", "18", False, "last_number"
    ),
    flexible("answer-in-units", "That gives the answer in euros: 18. It took 2 steps.", "18", True, "phrase"),
    flexible("label-in-units", "So the final answer in euros = 18. It took 2 steps.", "18", True, "phrase"),
]

ORDER = [
    flexible("box-after-hash", r"#### 17 so \boxed{18}", "18", True, "boxed"),
    flexible("hash-after-box", "\\boxed{17}\n#### 18", "18", True, "hash"),
    flexible("phrase-after-hash", "#### 17\nThe answer is 18.", "18", True, "phrase"),
    flexible("hash-after-phrase", "The answer is 17.\n#### 18", "18", True, "hash"),
    flexible("phrase-around-box", r"The answer is \boxed{18}.", "18", True, "boxed"),
    flexible("explicit-beats-later-number", "#### 18\nThat took 5 steps.", "18", True, "hash"),
    flexible("denial-after-box", r"\boxed{18} The answer is not 17.", "18", True, "boxed"),
    flexible("unreadable-box-is-still-last", r"#### 18 \boxed{\text{unknown}}", "18", False, "boxed"),
    flexible("open-box-spoils", "#### 18\nThat is \\boxed{1", "18", False, None),
    flexible("heading-skipped", "#### Step 1: multiply\nShe makes 18.", "18", True, "last_number"),
]

LAST_NUMBERS = [
    flexible("sentence", "She makes 9 * 2 = 18 dollars every day.", "18", True, "last_number"),
    flexible("official-marks", "She makes 9 * 2 = $<<9*2=18>>18", "18", True, "last_number"),
    flexible("bare", "18", "18", True, "last_number"),
    flexible("exclamation", "That is 18!", "18", True, "last_number"),
    flexible("money", "She makes $1,800.00.", "1800", True, "last_number"),
    flexible("latex", r"\[ 3 \times 6 = 18 \]", "18", True, "last_number"),
    flexible("latex-fraction", r"$$x = \frac{36}{2}$$", "18", True, "last_number"),
    flexible("not-the-last", "18 eggs cost 5 dollars", "18", False, "last_number"),
    flexible("bullet", "Total:\n- 18", "18", True, "last_number"),
    flexible("negative", "The change is -18", "-18", True, "last_number"),
    flexible("equals-minus", "x = - 18", "-18", True, "last_number"),
    flexible("list-end", "They are 16, 17, 18", "18", True, "last_number"),
    flexible("arithmetic-undone", "So she has 20 - 2", "2", False, "last_number"),
    flexible("powers", "9**9**9", "9", False, "last_number"),
    flexible("name-with-digit", "18 liters of H2O", "18", True, "last_number"),
    flexible("million", "It is worth 2 million dollars", "2000000", True, "last_number"),
    flexible("nothing", "I do not know.", "18", False, None),
    flexible("empty", "", "18", False, None),
    flexible("surrogate-and-nul", "\ud800\x00 18 \x00\udfff", "18", True, "last_number"),
]

THINKING = [
    flexible("after-think", "<think>It is 17.</think>It is 18.", "18", True, "last_number"),
    flexible("box-in-think", r"<think>\boxed{18}</think>It is 17.", "18", False, "last_number"),
    flexible("unclosed-box-in-think", r"<think>\boxed{17</think>\boxed{18}", "18", True, "boxed"),
    flexible("prompt-opened-think", "It is 17.</think>It is 18.", "18", True, "last_number"),
    flexible("nothing-after-think", "<think>It is 18.</think>", "18", False, None),
    flexible("open-think", "<think>It is 18", "18", False, None),
    flexible("think-reopened", "<think></think>18<think>", "18", False, None),
    Case("open-think-strict", "<think>\n#### 18", "18", "strict", False, None),
    Case("open-think-boxed", r"<think>\boxed{18}", "18", "boxed", False, None),
]

GROUPS = {
    "surface": SURFACE_FORMS,
    "one-reading": ONE_READING_ONLY,
    "hash": HASHES,
    "box": BOXES,
    "phrase": PHRASES,
    "order": ORDER,
    "last-number": LAST_NUMBERS,
    "thinking": THINKING,
}
PARAMS = [pytest.param(case, id=f"{group}-{case.name}") for group, cases in GROUPS.items() for case in cases]


@pytest.mark.parametrize("case", PARAMS)
def test_case(case: Case) -> None:
    result = grade(case.completion, case.truth, case.mode)
    assert (result.correct, result.method) == (case.correct, case.method), result
    assert (result.extracted is None) == (result.method is None)


def test_table_has_no_duplicate_ids() -> None:
    names = [param.id for param in PARAMS]
    assert len(names) == len(set(names)) >= 80
