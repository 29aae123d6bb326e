"""Documents as a page holds them: an entry each, opened when it is read; each token's text once."""

from collections.abc import Callable, Iterable
from typing import Any

from bitlens.report.page.browsers import DocumentBrowser, DocumentReading, Predicted, ReadDocument

THOUSANDTHS = 1000
"""Probabilities are told to a tenth of a per cent."""
FIRST = 48
"""The letter of nought, `0`."""
Entry = Callable[[Any], int]
"""Takes what is data, and gives its number on the page."""


def documents_data(part: DocumentBrowser, entry: Entry) -> dict[str, Any]:
    """What the page's script needs to list documents; each is an entry of its own."""
    texts: dict[int, ReadDocument] = {}
    readings: dict[int, dict[str, DocumentReading]] = {}
    for twin, of in part.twins:
        for one in of:
            texts.setdefault(one.document.number, one.document)
            readings.setdefault(one.document.number, {})[twin] = one
    at = {number: entry(_document(texts[number], of)) for number, of in readings.items()}
    return {
        "documents": [[number, of.name, at[number]] for number, of in texts.items()],
        "twins": [[twin, [_listed(one) for one in of]] for twin, of in part.twins],
        "total": part.total,
        "shown": part.shown,
    }


def _listed(one: DocumentReading) -> list[Any]:
    about = [one.document.number, list(one.kinds), one.rank]
    return [*about, _three(one.kl), one.positions, one.changed]


def _document(text: ReadDocument, readings: dict[str, DocumentReading]) -> dict[str, Any]:
    """A document as all the twins read it that show it."""
    words: dict[tuple[int, str], int] = {}

    def place(number: int, word: str) -> int:
        return words.setdefault((number, word), len(words))

    def first(of: Predicted) -> list[list[int]]:
        return [list(map(place, *row)) for row in zip(of.ids, of.texts, strict=True)]

    expected, shares = first(text.reference), _shares(text.reference)
    twins = {
        twin: {
            "kl": [None if kl is None else _three(kl) for kl in one.by_token],
            "first": letters(
                # By its place among the reference's five; another by its number, below nought.
                of.index(n) if n in of else -1 - n
                for of, mine in zip(expected, first(one.twin), strict=True)
                for n in mine
            ),
            "more": letters(a - b for a, b in zip(_shares(one.twin), shares, strict=True)),
            "others": _others(text, one.twin),
        }
        for twin, one in readings.items()
    }
    return {
        "five": max(map(len, expected), default=0),
        "tokens": letters(place(-1, word) for word in text.tokens),
        "offsets": _runs(text.offsets),
        "uncounted": [at for at, counts in enumerate(text.counts) if not counts],
        "first": letters(n for row in expected for n in row),
        "shares": letters(shares),
        "others": _others(text, text.reference),
        "twins": twins,
        "words": [word for _, word in words],
    }


def letters(numbers: Iterable[int]) -> str:
    """Whole numbers as a text, a letter each; the smaller, above or below nought, the shorter."""
    return "".join(chr(FIRST + (2 * n if n >= 0 else -2 * n - 1)) for n in numbers)


def _shares(of: Predicted) -> list[int]:
    return [_thousandths(share) for row in of.shares for share in row]


def _others(text: ReadDocument, of: Predicted) -> list[list[int]]:
    """Of tokens that are not among the likeliest, the probability where it is not nought: place
    and thousandths."""
    found = zip(text.tokens, of.texts, of.target, strict=True)
    return [
        [at, _thousandths(share)]
        for at, (word, likeliest, share) in enumerate(found)
        if share is not None and word not in likeliest and _thousandths(share)
    ]


def _thousandths(share: float) -> int:
    return round(share * THOUSANDTHS)


def _three(value: float) -> float:
    return float(f"{value:.3g}")


def _runs(numbers: tuple[int, ...]) -> list[list[int]]:
    """Rising numbers as their first and their count, for each stretch without a gap."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][0] + runs[-1][1] == number:
            runs[-1][1] += 1
        else:
            runs.append([number, 1])
    return runs
