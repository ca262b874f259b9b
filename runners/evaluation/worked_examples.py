"""Eight worked examples for the chain-of-thought prompt, written for this package.

They follow the plan of Wei et al. 2022 (https://arxiv.org/abs/2201.11903): a question, a few sentences that reason, and
"The answer is N." Their order and wording are part of the prompt `fewshot-cot-8`.
"""

from __future__ import annotations

from typing import NamedTuple


class Example(NamedTuple):
    """A question and the answer's text that follows it."""

    question: str
    answer: str


WORKED_EXAMPLES = (
    Example(
        "A ferry carries 14 cars on its lower deck and 9 on its upper deck. It crosses the bay 3 times, full each "
        "time. How many cars does it carry over?",
        "One crossing carries 14 + 9 = 23 cars. Three crossings carry 3 * 23 = 69 cars. The answer is 69.",
    ),
    Example(
        "Ingrid bought 5 tulip bulbs at $2 each and a watering can for $13. She paid with a $50 note. How much "
        "change did she get?",
        "The bulbs cost 5 * 2 = 10 dollars. With the can that is 10 + 13 = 23 dollars. Her change was 50 - 23 = 27 "
        "dollars. The answer is 27.",
    ),
    Example(
        "A library shelf holds 120 books. A quarter of them are atlases, and 18 are dictionaries. How many are "
        "neither?",
        "A quarter of 120 is 120 / 4 = 30, so there are 30 atlases. Atlases and dictionaries make 30 + 18 = 48 "
        "books. That leaves 120 - 48 = 72. The answer is 72.",
    ),
    Example(
        "Mateo walks 400 meters to the bus stop and 250 meters from the bus to school. How many meters does he "
        "walk in a week of 5 school days, there and back?",
        "One way he walks 400 + 250 = 650 meters. There and back is 2 * 650 = 1300 meters a day. In 5 days he "
        "walks 5 * 1300 = 6500 meters. The answer is 6500.",
    ),
    Example(
        "Priya is 4 years older than her brother. In 6 years their ages will add up to 40. How old is Priya now?",
        "In 6 years each of the two will be 6 years older, so their ages now add up to 40 - 12 = 28. Without the 4 "
        "years between them that would be 24, so her brother is 24 / 2 = 12. Priya is 12 + 4 = 16. The answer is "
        "16.",
    ),
    Example(
        "A printer makes 12 pages a minute. It printed for 7 minutes, stopped because of a jam, then printed for 3 "
        "more minutes. Afterwards 9 pages had to be thrown away. How many good pages are there?",
        "It printed for 7 + 3 = 10 minutes, which is 10 * 12 = 120 pages. Of these 120 - 9 = 111 are good. The "
        "answer is 111.",
    ),
    Example(
        "A coat costs $80. It is reduced by 15%. A buyer also has a voucher for $8. What does the buyer pay?",
        "The reduction is 80 * 15 / 100 = 12 dollars, so the coat costs 80 - 12 = 68 dollars. With the voucher it "
        "is 68 - 8 = 60 dollars. The answer is 60.",
    ),
    Example(
        "Three hives gave 2.5, 4 and 3.5 kilograms of honey. The keeper fills jars of half a kilogram and gives 6 "
        "jars away. How many jars are left?",
        "Together the hives gave 2.5 + 4 + 3.5 = 10 kilograms. That fills 10 / 0.5 = 20 jars. After the gift 20 - "
        "6 = 14 jars are left. The answer is 14.",
    ),
)
