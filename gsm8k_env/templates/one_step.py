"""Problems of one step: one addition, subtraction, multiplication or division of small numbers."""

from gsm8k_env.templates import words as w
from gsm8k_env.templates.form import span, template

TEMPLATES = (
    template(
        "birthday_gift",
        "{who} has {a item} in a box. {friend} gives {who.him} {b} more for "
        "{who.his} birthday. How many {item} does {who} have now?",
        "{who} has {a + b = total item} now.",
        item=w.KEEPSAKES,
        a=span(3, 20),
        b=span(2, 15),
    ),
    template(
        "two_flower_beds",
        "{who} plants {a item} beside the gate and {b item} behind the house. How many {item} does {who} plant in all?",
        "{who} plants {a + b = total item} in all.",
        item=w.FLOWERS,
        a=span(2, 20),
        b=span(2, 20),
    ),
    template(
        "two_reading_days",
        "{who} reads {a} pages of a book on {day} and {b} more pages the next day. "
        "How many pages does {who} read over the two days?",
        "{who} reads {a + b = total} pages.",
        day=w.DAYS,
        a=span(5, 25),
        b=span(5, 25),
    ),
    template(
        "riders_get_on",
        "{who} drives a bus that leaves the {place} with {a} riders. At the next stop, {b} more "
        "get on and nobody gets off. How many riders are on the bus now?",
        "The bus now carries {a + b = total} riders.",
        place=w.TRIPS,
        a=span(6, 30),
        b=span(2, 15),
    ),
    template(
        "baked_and_gave",
        "{who} bakes {had item} and gives {gone} of them to {friend}. How many {item} does {who} have left?",
        "{who} has {had - gone = left item} left.",
        item=w.BAKED,
        gone=span(2, 12),
        left=span(1, 15),
        had="gone + left",
    ),
    template(
        "money_left",
        "{who} has ${had} in {who.his} wallet. {who.He} buys {item.a} for "
        "${price}. How much money does {who} have left?",
        "{who} has {had - price = $left} left.",
        item=w.GIFTS,
        price=span(3, 20),
        left=span(1, 20),
        had="price + left",
    ),
    template(
        "age_difference",
        "{who} is {a} years old. {who.His} {kin} {friend} is {b} years old. "
        "How many years older is {who} than {friend}?",
        "{who} is {a - b = older} years older than {friend}.",
        kin=("cousin", "neighbor", "classmate"),
        b=span(3, 15),
        older=span(2, 12),
        a="b + older",
    ),
    template(
        "trees_cut_down",
        "There are {had item} in the park near {who}'s house. After a storm, workers "
        "cut down {gone} of them. How many {item} are left?",
        "That leaves {had - gone = left item}.",
        item=w.TREES,
        gone=span(2, 15),
        left=span(1, 25),
        had="gone + left",
    ),
    template(
        "full_containers",
        "{who} buys {n box} of {item} at the market. There are {each item} in "
        "each {box.one}. How many {item} does {who} buy?",
        "{who} buys {n * each = total item}.",
        box=w.CONTAINERS,
        item=w.FRUIT,
        n=span(2, 9),
        each=span(3, 12),
    ),
    template(
        "price_of_many",
        "One {item.one} costs ${price} at a small shop. {who} buys {n item} for "
        "{who.his} friends. How much does {who} pay?",
        "{who} pays {n * price = $cost}.",
        item=w.GIFTS,
        n=span(2, 9),
        price=span(2, 12),
    ),
    template(
        "vegetable_rows",
        "{who} has a garden with {rows} rows of {item}. Each row has {each item}. How many {item} are in the garden?",
        "The garden has {rows * each = total item}.",
        item=w.VEGETABLES,
        rows=span(2, 9),
        each=span(3, 12),
    ),
    template(
        "daily_distance",
        "{who} {verb} {miles} miles every day to get ready for a race. How many miles does {who} cover in {days} days?",
        "{who} covers {miles * days = total} miles.",
        verb=("runs", "cycles", "rows", "skates"),
        miles=span(2, 12),
        days=span(3, 9),
    ),
    template(
        "practice_minutes",
        "{who} practices the {instrument} for {minutes} minutes every evening. How "
        "many minutes does {who} practice in {days} evenings?",
        "{who} practices for {minutes * days = total} minutes.",
        instrument=w.INSTRUMENTS,
        minutes=span(5, 20),
        days=span(2, 7),
    ),
    template(
        "share_equally",
        "{who} shares {total item} equally among {n} friends and keeps none. How many {item} does each friend get?",
        "Each friend gets {total / n = each item}.",
        item=w.KEEPSAKES,
        n=span(2, 9),
        each=span(2, 12),
        total="n * each",
    ),
    template(
        "pack_boxes",
        "{who} packs {total item} into {box}. Each {box.one} holds {each item}. How many {box} does {who} fill?",
        "{who} fills {total / each = n box}.",
        item=w.BAKED,
        box=w.CONTAINERS,
        n=span(2, 9),
        each=span(3, 12),
        total="n * each",
    ),
    template(
        "price_of_one",
        "{who} pays ${cost} for {n item}. Every {item.one} has the same price. How much does one {item.one} cost?",
        "One {item.one} costs {cost / n = $price}.",
        item=w.CLOTHES,
        n=span(2, 9),
        price=span(3, 12),
        cost="n * price",
    ),
    template(
        "make_teams",
        "There are {total} children at a sports camp. {who} puts them into teams of "
        "{size} to play {game}. How many teams are there?",
        "There are {total / size = teams} teams.",
        game=("soccer", "volleyball", "basketball", "handball"),
        size=span(4, 11),
        teams=span(2, 9),
        total="size * teams",
    ),
    template(
        "part_as_many",
        "{who} has {a item}. {friend} has {k.part} as many {item} as {who}. How many {item} does {friend} have?",
        "{friend} has {a / k = b item}.",
        item=w.STATIONERY,
        k=span(2, 5),
        b=span(2, 15),
        a="k * b",
    ),
)
