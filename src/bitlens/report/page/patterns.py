"""Patterns of heads as a page holds them: a letter a share, the reference's once for all twins."""

from typing import Any

from bitlens.report.page.browsers import HeadPatterns
from bitlens.report.page.columns import letters


def patterns_data(part: HeadPatterns) -> dict[str, Any]:
    """What the page's script needs to show patterns."""
    numbers: dict[str, int] = {}
    reference: dict[str, list[str]] = {}
    twins = []
    for twin, heads in part.twins:
        held = []
        for one in heads:
            name = f"{one.block}.{one.head}"
            reference.setdefault(name, [letters(shares) for shares in one.reference])
            pairs = zip(one.reference, one.twin, strict=True)
            held.append([name, [letters(_more(a, b)) for a, b in pairs]])
        twins.append({"twin": twin, "heads": held})
    texts = [
        [where, [numbers.setdefault(token, len(numbers)) for token in tokens]]
        for where, tokens in part.texts
    ]
    return {
        "tokens": list(numbers),
        "texts": texts,
        "reference": list(reference.items()),
        "twins": twins,
        "shown": part.shown,
    }


def _more(reference: bytes, twin: bytes) -> bytes:
    """What the twin pays more than the reference, around in a circle of 256."""
    return bytes((b - a) % 256 for a, b in zip(reference, twin, strict=True))
