"""Prompts for code models: beginnings of code, as many as are wanted, none twice."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from random import Random
from string import Formatter

from bitlens.data.code_templates import TEMPLATES, WORDS
from bitlens.data.files import Document
from bitlens.errors import DataError
from bitlens.seeds import derive

PREFIX = "code-prompts:"
FORM = "code-prompts:COUNT or code-prompts:FIRST:END"
SHARES = {
    "Python functions": 230,
    "Type annotations": 100,
    "Class definitions": 50,
    "JavaScript and TypeScript": 320,
    "Rust": 150,
    "Go": 120,
    "Error handling": 96,
}
"""How many prompts of each category an earlier study had ("Quantization x Interpretability", an
Anthropic Fellows project, 2026: METHODOLOGY 1.4); its prompts were not published."""


def read_prompts(source: str) -> list[Document]:
    """The prompts of `code-prompts:1066` or `code-prompts:1066:2132`: the first so many, or those
    from one number up to another; other numbers are other prompts. DataError for another form."""
    match = re.fullmatch(r"(?:(\d{1,9}):)?(\d{1,9})", source.removeprefix(PREFIX), re.ASCII)
    first, end = (int(match[1] or 0), int(match[2])) if match else (0, 0)
    if first >= end:
        raise DataError(
            f"{source!r} names no code prompts.",
            f"{FORM}, counted from 0 and END left out.",
            f"{PREFIX}{sum(SHARES.values())}",
        )
    return code_prompts(first, end)


def code_prompts(first: int, end: int, seed: int = 0) -> list[Document]:
    """Prompts number `first` to `end` - 1 of those that belong to a seed, all of them different.

    Categories come by `SHARES`, exactly so in every 1,066 on end; a document says its category,
    and its name is that and its number. BitlensError beyond the last one.
    """
    order = _order(seed)
    rounds = min(_capacity(category) // share for category, share in SHARES.items())
    if end > rounds * len(order):
        raise DataError(
            f"{end:,} code prompts are asked for.",
            f"at most {rounds * len(order):,}: then the templates' words have all been combined.",
            f"{PREFIX}{rounds * len(order)}",
        )
    found = []
    for number in range(first, end):
        category, before = order[number % len(order)]
        nth = number // len(order) * SHARES[category] + before
        text = _prompt(category, nth, seed)
        found.append(Document(f"{category} {number}", text, category=category))
    return found


def note(prompts: Sequence[Document]) -> str:
    """How many of each category, in a sentence."""
    counts = Counter(document.category or "" for document in prompts)
    told = ", ".join(f"{counts[category]:,} {category}" for category in SHARES if counts[category])
    return f"Beginnings of code made from templates: {told}."


@cache
def _order(seed: int) -> list[tuple[str, int]]:
    """The categories of a round in a seeded order, each with how often it has come before."""
    names = list(Counter(SHARES).elements())
    Random(derive(seed, "code prompts")).shuffle(names)
    return [(name, names[:place].count(name)) for place, name in enumerate(names)]


def _prompt(category: str, nth: int, seed: int) -> str:
    """Templates take turns; each goes through the combinations of its words in steps of a number
    that has no divisor in common with how many there are, which meets all of them once."""
    turn, template = divmod(nth, len(TEMPLATES[category]))
    text = TEMPLATES[category][template]
    slots = _slots(text)
    size = math.prod(len(WORDS[slot]) for slot in slots)
    draw = Random(derive(seed, category, template))
    begin = draw.randrange(size)
    step = draw.randrange(size // 4, size)
    while math.gcd(step, size) > 1:
        step = draw.randrange(size // 4, size)
    rest = (begin + turn * step) % size
    words = {}
    for slot in slots:
        rest, word = divmod(rest, len(WORDS[slot]))
        words[slot] = WORDS[slot][word]
    return text.format(**_cases(words))


def _cases(words: dict[str, str]) -> dict[str, str]:
    """`noun`, `Noun` and `NOUN` of every word."""
    raised = {name.capitalize(): word[:1].upper() + word[1:] for name, word in words.items()}
    return words | raised | {name.upper(): word.upper() for name, word in words.items()}


@cache
def _slots(template: str) -> tuple[str, ...]:
    """Which words it takes, each once."""
    names = [name.lower() for _, name, _, _ in Formatter().parse(template) if name]
    return tuple(dict.fromkeys(names))


def _capacity(category: str) -> int:
    """Prompts before a template has used up its combinations."""
    sizes = [math.prod(len(WORDS[s]) for s in _slots(t)) for t in TEMPLATES[category]]
    return min(sizes) * len(sizes)
