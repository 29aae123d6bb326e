"""Sets of labelled texts that are made from templates, for a first look and for tests.

Neither length nor the last token tells the classes of a set apart: both have as many documents of
every length, in tokens of the model that reads them, and sentences of both end alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from random import Random

from bitlens.data.files import Document
from bitlens.seeds import derive

MOST = 300
"""Documents of each class."""
DRAWN = 1500
"""Sentences of each class whose lengths are looked at."""

Lengths = Callable[[list[str]], list[int]]
"""How long each of some texts is."""
Sentences = tuple[list[str], list[str]]
"""Of the class that is watched for, and of the other."""


def characters(texts: list[str]) -> list[int]:
    """How many characters each text has."""
    return [len(text) for text in texts]


def made(name: str, lengths: Lengths = characters) -> tuple[str, str, tuple[Document, ...]]:
    """The two labels of a set, the one that is watched for first, and its documents, as many of
    both classes at every length."""
    positive, negative, write = TEMPLATES[name]
    together = TOGETHER.get(name)
    of_one, of_other = _matched(*write(), lengths, Random(derive(0, "labelled", name)))
    return (
        positive,
        negative,
        tuple(
            Document(
                f"{name}, {label} {n}", text, together(text) if together else f"{label} {n}", label
            )
            for label, texts in ((positive, of_one), (negative, of_other))
            for n, text in enumerate(texts)
        ),
    )


def _matched(one: Sequence[str], other: Sequence[str], lengths: Lengths, draw: Random) -> Sentences:
    """As many of each length from both, `MOST` of each at most, drawn at random."""
    by_length: list[dict[int, list[str]]] = []
    for texts in (one, other):
        distinct = sorted(set(texts))
        some = draw.sample(distinct, min(DRAWN, len(distinct)))
        found: dict[int, list[str]] = {}
        for text, length in zip(some, lengths(some), strict=True):
            found.setdefault(length, []).append(text)
        by_length.append(found)
    first, second = by_length
    pairs = [
        pair
        for length in sorted(first.keys() & second.keys())
        for pair in zip(first[length], second[length], strict=False)
    ]
    kept = draw.sample(pairs, min(MOST, len(pairs)))
    return [text for text, _ in kept], [text for _, text in kept]


_SUBJECTS = (
    ("the teacher", "le professeur"), ("the girl", "la fille"), ("the doctor", "le docteur"),
    ("my brother", "mon frère"), ("the cat", "le chat"), ("our neighbour", "notre voisin"),
    ("the old man", "le vieil homme"), ("a young woman", "une jeune femme"),
    ("the farmer", "le fermier"), ("his mother", "sa mère"),
)  # fmt: skip
_VERBS = (
    ("sees", "voit"), ("buys", "achète"), ("sells", "vend"), ("finds", "trouve"),
    ("loses", "perd"), ("looks for", "cherche"), ("takes", "prend"), ("paints", "peint"),
)  # fmt: skip
_OBJECTS = (
    ("the house", "la maison"), ("a red car", "une voiture rouge"),
    ("the small dog", "le petit chien"), ("an apple", "une pomme"), ("the bread", "le pain"),
    ("a letter", "une lettre"),
    ("the white boat", "le bateau blanc"), ("a long book", "un long livre"),
)  # fmt: skip
_WHEN = (
    ("today", "aujourd'hui"), ("in the morning", "le matin"), ("every day", "chaque jour"),
    ("in the summer", "en été"), ("again", "encore"),
)  # fmt: skip


def _languages() -> Sentences:
    french: list[str] = []
    english: list[str] = []
    for parts in product(_SUBJECTS, _VERBS, _OBJECTS, _WHEN):
        for side, texts in ((0, english), (1, french)):
            sentence = " ".join(part[side] for part in parts)
            texts.append(f"{sentence[0].upper()}{sentence[1:]}.")
    return french, english


_GOOD = (
    "wonderful", "delightful", "excellent", "brilliant", "charming", "beautiful", "superb",
    "lovely", "great", "perfect", "pleasant", "enjoyable",
)  # fmt: skip
_BAD = (
    "horrible", "disgusting", "terrible", "dreadful", "annoying", "hideous", "awful", "boring",
    "poor", "pathetic", "miserable", "worthless",
)  # fmt: skip
_THINGS = (
    "film", "meal", "book", "hotel", "concert", "garden", "lesson", "journey", "story", "play",
)  # fmt: skip
_SENTIMENT = (
    "The {thing} was {word} from beginning to end.", "We all found the {thing} {word} last week.",
    "It was a {word} {thing} for everyone who came.", "I remember how {word} that {thing} was.",
    "Nobody expected such a {word} {thing} this year.",
)  # fmt: skip


def _sentiments() -> Sentences:
    return tuple(  # type: ignore[return-value]
        [
            text.format(thing=thing, word=word)
            for text, thing, word in product(_SENTIMENT, _THINGS, words)
        ]
        for words in (_BAD, _GOOD)
    )


_NOUNS = (
    "user", "path", "name", "item", "file", "page", "order", "price", "date", "value", "token",
    "image", "score", "label", "index", "group",
)  # fmt: skip
_ACTIONS = ("load", "save", "find", "read", "sort", "make", "send", "check", "parse", "merge")
_CODE = (
    "def {do}_{a}(self, {b}): return self.{b}", "{b} = {do}({a})[0] if {a} else {b}",
    "for {b} in {do}_{a}s({b}s): yield {b}", "if not {a}.{do}(): raise {b}",
)  # fmt: skip
_PROSE = (
    "{Do} the {a} first and then look at the {b}", "We {do} every {a} before we take a {b}",
    "You may {do} the {a} together with its {b}", "They {do} an old {a} when there is a {b}",
)  # fmt: skip


def _code() -> Sentences:
    return tuple(  # type: ignore[return-value]
        [
            text.format(do=do, Do=do.capitalize(), a=a, b=b)
            for text, do, a, b in product(texts, _ACTIONS, _NOUNS, _NOUNS)
            if a != b
        ]
        for texts in (_CODE, _PROSE)
    )


_CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Germany": "Berlin", "Japan": "Tokyo",
    "Russia": "Moscow", "Egypt": "Cairo", "Greece": "Athens", "Poland": "Warsaw", "Peru": "Lima",
    "Norway": "Oslo", "Sweden": "Stockholm", "Austria": "Vienna", "Hungary": "Budapest",
    "Portugal": "Lisbon", "Ireland": "Dublin", "Cuba": "Havana", "China": "Beijing",
    "Kenya": "Nairobi", "Finland": "Helsinki", "Denmark": "Copenhagen", "Iran": "Tehran",
}  # fmt: skip
_PLACES = (
    "The capital of {country} is {city}.", "{city} is the capital city of {country}.",
    "If you visit the capital of {country}, you are in {city}.",
)  # fmt: skip


def _truths() -> Sentences:
    """Every city and every sum is as often said truly as falsely."""
    cities = list(_CAPITALS.values())
    true, false = [], []
    for text, (n, country) in product(_PLACES, enumerate(_CAPITALS)):
        true.append(text.format(country=country, city=cities[n]))
        false += [
            text.format(country=country, city=cities[(n + step) % len(cities)])
            for step in range(1, len(cities))
        ]
    for a, b in product(range(11, 49), repeat=2):
        true.append(f"The sum of {a} and {b} is {a + b}.")
        false += [f"The sum of {a} and {b} is {total}." for total in _beside(a + b)]
    return false, true


def _beside(total: int) -> Iterator[int]:
    return (total + step for step in (-7, -2, 2, 7))


def _fact(text: str) -> str:
    """The two numbers, or the country, that a sentence about truth is of: whoever has read one of
    a fact knows the others."""
    numbers = re.findall(r"\d+", text)[:2]
    if numbers:
        return f"{min(numbers)} and {max(numbers)}"
    return next(country for country in _CAPITALS if country in text)


TEMPLATES: dict[str, tuple[str, str, Callable[[], Sentences]]] = {
    "language": ("french", "english", _languages),
    "sentiment": ("negative", "positive", _sentiments),
    "code": ("code", "prose", _code),
    "truth": ("false", "true", _truths),
}
"""By name: the label that is watched for, the other, and what writes sentences of both."""

TOGETHER: dict[str, Callable[[str], str]] = {"truth": _fact}
"""What sentences of a set are of, where those of one thing are kept on one side of training and
test; sentences of the other sets are each alone."""
