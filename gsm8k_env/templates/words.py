"""The names and nouns that fill the problem templates.

A pool is a tuple; its order is part of the environment's version, because a seed picks words by their position.
No name ends in "s", so "'s" always makes the possessive.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Noun:
    """A thing that can be counted. Its text is the plural, the form most sentences need."""

    one: str  # "apple"
    many: str  # "apples"
    a: str  # "an apple"

    def __str__(self) -> str:
        return self.many


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody with a name and the pronouns that go with it. Its text is the name."""

    name: str
    he: str  # "he" or "she"
    him: str
    his: str
    He: str  # the same two at the start of a sentence
    His: str

    def __str__(self) -> str:
        return self.name


Word = Noun | Person | str


def noun(one: str, many: str = "") -> Noun:
    """Builds a noun; the plural defaults to the singular with an s, the article follows the first letter.

    >>> noun("apple").a, noun("leaf", "leaves").many
    ('an apple', 'leaves')
    """
    article = "an" if one[0] in "aeiou" else "a"
    return Noun(one=one, many=many or f"{one}s", a=f"{article} {one}")


def _woman(name: str) -> Person:
    return Person(name=name, he="she", him="her", his="her", He="She", His="Her")


def _man(name: str) -> Person:
    return Person(name=name, he="he", him="him", his="his", He="He", His="His")


def _nouns(*words: str) -> tuple[Noun, ...]:
    """Each word is a singular, or "singular/plural" where an s does not do."""
    return tuple(noun(*word.split("/")) for word in words)


PEOPLE = (
    *map(_woman, ("Mia", "Zoe", "Nora", "Ruth", "Leila", "Priya", "Yuki", "Clara", "Grace", "Hana", "Elena", "Amina")),
    *map(_man, ("Tom", "Ben", "Omar", "Leo", "Ravi", "Hugo", "Kenji", "Luca", "Sam", "Pedro", "Noah", "Amir")),
)

KEEPSAKES = _nouns("marble", "sticker", "card", "shell", "stamp", "button", "bead", "coin", "badge", "postcard")
FRUIT = _nouns("apple", "pear", "orange", "peach/peaches", "plum", "mango/mangoes", "lemon", "apricot", "fig", "lime")
BAKED = _nouns("cookie", "muffin", "cupcake", "bun", "pretzel", "brownie", "scone", "donut", "bagel", "waffle")
STATIONERY = _nouns("pencil", "pen", "notebook", "eraser", "marker", "folder", "ruler", "crayon", "envelope")
CLOTHES = _nouns("hat", "shirt", "scarf/scarves", "sweater", "belt", "cap", "vest", "apron", "T-shirt")
GIFTS = _nouns("book", "puzzle", "ball", "kite", "lamp", "umbrella", "mug", "clock", "poster", "candle")
FLOWERS = _nouns("rose", "tulip", "daisy/daisies", "lily/lilies", "sunflower", "poppy/poppies", "violet", "orchid")
VEGETABLES = _nouns("carrot", "onion", "tomato/tomatoes", "pepper", "cabbage", "potato/potatoes", "leek", "turnip")
CONTAINERS = _nouns("box/boxes", "bag", "basket", "bucket", "crate", "bowl")
ANIMALS = _nouns("goat", "cow", "horse", "pig", "donkey", "llama", "pony/ponies", "sheep/sheep")
MACHINES = _nouns("bicycle", "camera", "tablet", "tent", "keyboard", "telescope", "skateboard", "sewing machine")
EGG = _nouns("egg")
TREES = _nouns("oak", "pine", "maple", "birch/birches", "elm", "willow")

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
CHORES = ("walking dogs", "washing cars", "mowing lawns", "raking leaves", "babysitting", "painting fences")
CLUBS = ("chess club", "drama club", "swim team", "choir", "school band", "science club", "soccer team")
CORDS = ("rope", "ribbon", "wire", "string", "cable")
DRINKS = ("tea", "juice", "lemonade", "milkshakes", "soda")
LIQUIDS = ("water", "milk", "juice", "syrup", "oil")
INSTRUMENTS = ("piano", "guitar", "violin", "flute", "cello", "trumpet")
FARMS = ("farm", "ranch", "homestead")
TRIPS = ("museum", "zoo", "theater", "aquarium", "science fair", "castle")
