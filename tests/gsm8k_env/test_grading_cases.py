r"""The contract of grading, a row for every sentence of it: completion, ground truth, right or not, found by what."""

import pytest

from gsm8k_env.grading import GradingMode, grade

Row = tuple[str, str, bool, str | None]

STRICT: list[Row] = [
    # The last `####` alone, exactly four hashes: the official form, and what models make of it.
    ("3 * 6 = 18\n#### 18", "18", True, "hash"),
    ("3 * 6 = 17\n#### 17", "18", False, "hash"),
    ("#### 17\nWait.\n#### 18", "18", True, "hash"),
    ("#### 18\nWait.\n#### 17", "18", False, "hash"),
    ("#### $1,200.00", "1200", True, "hash"),
    ("#### **18** dollars", "18", True, "hash"),
    ("####18", "18", True, "hash"),
    ("**#### 18**", "18", True, "hash"),
    ("####\n18", "18", True, "hash"),
    ("#### x = 18", "18", True, "hash"),
    ("#### 3 * 6 = 18", "18", True, "hash"),
    ("#### The total is $18", "18", True, "hash"),
    (r"#### \boxed{18}", "18", True, "hash"),
    ("#### -18", "-18", True, "hash"),
    ("##### 18", "18", False, None),
    ("### 18", "18", False, None),
    (r"So \boxed{18}. The answer is 18.", "18", False, None),
    ("\\boxed{17\n#### 18", "18", True, "hash"),
    # A claim ends with its line, its sentence, a semicolon, a comma or bracket before a word, a token of the template.
    ("#### 18\n\nThat took 3 steps.", "18", True, "hash"),
    ("#### 18. Thus she has 3 left.", "18", True, "hash"),
    ("#### 18; 3 are left", "18", True, "hash"),
    ("#### 18, since 3 * 7 is 21", "18", True, "hash"),
    ("#### 18 (from 3 days)", "18", True, "hash"),
    ("#### 18<|im_end|>17", "18", True, "hash"),
    ("#### 18</s>17", "18", True, "hash"),
    # Headings with text below, and lines without a digit, claim nothing.
    ("#### 18\n#### Step 2: check\nIt holds.", "18", True, "hash"),
    ("#### 18\n#### 2. Check\nIt holds.", "18", True, "hash"),
    ("#### 18 #### Step 2\nIt holds.", "18", True, "hash"),
    ("#### 18\n#### Check\n", "18", True, "hash"),
    ("#### Step 18: sell\nShe sells.", "18", False, None),
    ("#### Step 3: sell = 18", "18", True, "hash"),
]

BOXED: list[Row] = [
    # The last box alone.
    (r"\boxed{17}, no, \boxed{18}", "18", True, "boxed"),
    (r"\boxed{18}, no, \boxed{17}", "18", False, "boxed"),
    (r"$\boxed{18}$", "18", True, "boxed"),
    (r"\boxed {18}", "18", True, "boxed"),
    (r"\fbox{18}", "18", True, "boxed"),
    ("so boxed{42}", "42", True, "boxed"),  # the backslash was taken for an escape
    (r"\boxed{\boxed{18}}", "18", True, "boxed"),
    (r"\boxed{\{18\}}", "18", True, "boxed"),
    (r"\boxed{\text{Answer: }18}", "18", True, "boxed"),
    ("\\boxed{\n 18\n}", "18", True, "boxed"),
    (r"\boxed{}", "18", False, "boxed"),
    (r"\boxed{eighteen}", "18", False, "boxed"),
    (r"\boxed 18", "18", False, None),
    ("#### 18\nThe answer is 18.", "18", False, None),
]

FLEXIBLE: list[Row] = [
    # "the answer is", "answer:"
    ("The answer is 18.", "18", True, "phrase"),
    ("The answer is 17.", "18", False, "phrase"),
    ("THE ANSWER IS 18", "18", True, "phrase"),
    ("So the final answer is: $18.", "18", True, "phrase"),
    ("The answer to the question is 18 eggs.", "18", True, "phrase"),
    ("The answer would be **18**.", "18", True, "phrase"),
    ("Answer: 18", "18", True, "phrase"),
    ("answer = 18", "18", True, "phrase"),
    ("**Final answer:** 18", "18", True, "phrase"),
    ("**Final answer: 18 eggs**", "18", True, "phrase"),
    ("The answer is:\n\n$18$", "18", True, "phrase"),
    (r"The answer is \(18\).", "18", True, "phrase"),
    ("The answer is 3 * 6 = 18 eggs, which is 3 less than 21.", "18", True, "phrase"),
    ("The answer is 18.5.", "18.5", True, "phrase"),
    ("The answer is not 18", "18", True, "phrase"),  # grammar is not read
    ("The answer is unknown. It takes 18 days.", "18", True, "last_number"),
    ("He answered 3 questions and won 18", "18", True, "last_number"),
    ("Express the answer as a percentage: 6 / 9 = 66.7%, about 67", "67", True, "last_number"),
    # The last explicit claim wins, right or wrong, readable or not, ...
    ("The answer is 17. No, the answer is 18.", "18", True, "phrase"),
    ("The answer is 11.\n\nThe answer is ten.", "11", True, "phrase"),
    ("The answer is 17.\n#### 18", "18", True, "hash"),
    ("#### 17\nThe answer is 18.", "18", True, "phrase"),
    (r"#### 17 so \boxed{18}", "18", True, "boxed"),
    ("\\boxed{17}\n#### 18", "18", True, "hash"),
    ("\\boxed{18}\nThe answer is 17.", "18", False, "phrase"),
    (r"The answer is \boxed{18}, not 17.", "18", True, "boxed"),
    (r"#### 18 \boxed{\text{unknown}}", "18", False, "boxed"),
    ("#### 18\nThat took 5 steps.", "18", True, "hash"),
    # ... else the last number.
    ("She makes 9 * 2 = 18 dollars every day.", "18", True, "last_number"),
    ("She makes 9 * 2 = $<<9*2=18>>18", "18", True, "last_number"),
    ("18 eggs cost 5 dollars", "18", False, "last_number"),
    ("They are 16, 17, 18!", "18", True, "last_number"),
    ("Total:\n- $1,800.00.", "1800", True, "last_number"),
    ("It was -18 degrees.", "-18", True, "last_number"),
    ("x = - 18", "-18", True, "last_number"),
    ("7\n123", "123", True, "last_number"),
    (r"\[ x = \frac{36}{2} \]", "18", True, "last_number"),
    ("18 liters of H2O", "18", True, "last_number"),
    ("It is version 1.8.0", "8", False, None),
    ("It is 1 000", "1000", True, "last_number"),
    ("It is 20 - 2", "2", False, "last_number"),
    (r"It is $4\sqrt{2}$", "4", False, "last_number"),
    (r"It is $4\sqrt{2}$", "2", False, "last_number"),
    (r"It is \sqrt{16}", "16", False, "last_number"),
    (r"It is 4\pi", "4", False, "last_number"),
    (r"It is $\frac{4\pi}{3}$", "3", False, "last_number"),
    ("#### Step 1: multiply\nShe makes 18.", "18", True, "last_number"),
    ("I do not know.", "18", False, None),
    ("", "18", False, None),
    ("\ud800\x00 18 \x00\udfff", "18", True, "last_number"),
    # Unfinished text is no answer: an open box, an open thought, an equals sign without its result.
    ("#### 18\nThat is \\boxed{1", "18", False, None),
    (r"\boxed{18} or rather \boxed{\text{18}", "18", False, None),
    (r"\boxed{answer: 18", "18", False, None),
    ("<think>#### 18", "18", False, None),
    ("<think></think>18<think>", "18", False, None),
    ("<think>\\boxed{17</think>#### 18", "18", True, "hash"),
    ("<think>18</think>It is 17.", "18", False, "last_number"),
    ("<think>It is 18.</think>", "18", False, None),
    ("Each gets 36 / 2 = $", "2", False, None),
    ("36 / 2 apples = ?", "2", False, None),
    ("The answer is 36 / 2 =", "2", False, "phrase"),
]

# Contents of a claim, the value it has, and whether that value is read.
CONTENTS: list[tuple[str, str, bool]] = [
    # Exact rationals.
    ("18", "18", True),
    ("18.00", "18", True),
    ("18.", "18", True),
    ("18.5", "18", False),
    (".5", "1/2", True),
    ("17.99999999999999999999", "18", False),
    ("36/2", "18", True),
    (r"\frac{36}{2}", "18", True),
    (r"\dfrac12", "0.5", True),
    (r"-\frac{1}{2}", "-0.5", True),
    (r"2\frac{1}{2}", "2.5", True),
    ("2 1/2", "2.5", True),
    ("1/3", "0.333333333333", False),
    ("18/0", "18", False),
    ("-18", "-18", True),
    ("-18", "18", False),
    ("- 18", "-18", True),
    ("\u221218", "-18", True),
    ("+18", "18", True),
    ("\uff11\uff18", "18", True),
    # Thousands separators.
    ("1,200", "1200", True),
    ("1{,}200", "1200", True),
    (r"1,\!200", "1200", True),
    (r"1\,200", "1200", True),
    (r"1\ 000", "1000", True),
    ("1 000", "1000", True),
    ("1\u202f200", "1200", True),
    ("$1,200,000.50", "1200000.5", True),
    ("1,2", "12", False),
    ("1,2000", "12000", False),
    ("0,018", "18", False),
    # Currency, percent signs, units, LaTeX and Markdown.
    ("$18", "18", True),
    (r"\$18", "18", True),
    ("€ 18", "18", True),
    ("-$18", "-18", True),
    ("-€18", "-18", True),
    ("18%", "18", True),
    (r"18\%", "18", True),
    ("18%", "0.18", False),
    ("18 dollars", "18", True),
    ("18kg", "18", True),
    ("18 km/h", "18", True),
    (r"18\text{ cm}^2", "18", True),
    ("18 m²", "18", True),
    (r"18^\circ", "18", True),
    (r"\text{Total: } 18\ \text{eggs}", "18", True),
    (r"\mathbf{18}", "18", True),
    (r"\left(18\right)", "18", True),
    ("$18$", "18", True),
    ("**18** eggs", "18", True),
    ("`18`", "18", True),
    # An equation claims its last side.
    ("x = 18", "18", True),
    ("18 = x", "18", True),
    (r"3 \times 6 = 18", "18", True),
    (r"3 \times 6 = 18", "6", False),
    (r"x \approx 18", "18", True),
    ("36/2 =", "18", False),
    # Two different numbers are no answer.
    ("18 or 19", "18", False),
    ("18 or 19", "19", False),
    (r"18 \text{ and } 19", "19", False),
    ("3, 4", "4", False),
    ("x = 18, y = 20", "20", False),
    ("x = 18 and y = 20", "20", False),
    ("18 hours 30 minutes", "18", False),
    ("17-18", "18", False),
    ("17 to 18", "18", False),
    ("18:1", "18", False),
    ("1.8.0", "1.8", False),
    ("18, i.e. 18.00", "18", True),
    # What makes another number of it: arithmetic left undone, powers, roots, pi, variables, inequalities, scales.
    ("3 * 6", "6", False),
    ("9**9**9", "9", False),
    ("9**9", "99", False),
    ("18^2", "18", False),
    ("18²", "18", False),
    ("2½", "2", False),
    (r"4\sqrt{2}", "4", False),
    (r"\sqrt{18}", "18", False),
    (r"4\pi", "4", False),
    (r"\frac{4\pi}{3}", "4", False),
    ("18x", "18", False),
    ("x - 18", "18", False),
    ("f(18)", "18", False),
    ("-(18)", "18", False),
    (r"\frac{18}{x}", "18", False),
    ("1e3", "1", False),
    ("x > 18", "18", False),
    ("x >= 18", "18", False),
    (r"x \neq 18", "18", False),
    (r"18 \pm 1", "18", False),
    ("4 million", "4", False),
    ("4 Million", "4", False),
    ("4 million", "4000000", False),
    ("18k", "18", False),
    ("eighteen", "18", False),
]


@pytest.mark.parametrize(
    ("mode", "row"),
    [("strict", row) for row in STRICT] + [("boxed", row) for row in BOXED] + [("flexible", row) for row in FLEXIBLE],
)
def test_where_the_answer_stands(mode: GradingMode, row: Row) -> None:
    completion, truth, correct, method = row
    result = grade(completion, truth, mode)
    assert (result.correct, result.method) == (correct, method), result
    assert (result.extracted is None) == (method is None)


@pytest.mark.parametrize(("content", "value", "correct"), CONTENTS)
def test_which_number_it_is(content: str, value: str, correct: bool) -> None:
    mode: GradingMode
    for mode in ("boxed", "flexible"):
        assert grade(f"So 3 * 7 = 21. \\boxed{{{content}}} took 5 days.", value, mode).correct == correct
    for mode in ("strict", "flexible"):
        assert grade(f"3 * 7 = 21\n#### {content}\nThat took 5 days.", value, mode).correct == correct
    assert grade(f"3 * 7 = 21\nThe answer is {content}\nThat took 5 days.", value).correct == correct


def test_extracted_is_the_answer_as_it_is_written() -> None:
    assert grade("\\boxed{ \\$18.00\n}", "18").extracted == "\\$18.00"
    assert grade("#### **$18.00** dollars.", "18").extracted == "$18.00** dollars"
    assert grade("It is $1,800.", "1800").extracted == "1800"
