"""Which colour and shape is a compression? The same on every chart, table and line of a page."""

from collections.abc import Sequence
from dataclasses import dataclass

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's set for colour-blind readers, without the yellow that vanishes on white."""
SHAPES = (
    ("circle", "●"),
    ("square", "■"),
    ("triangle-up", "▲"),
    ("diamond", "◆"),
    ("triangle-down", "▼"),
    ("cross", "✚"),
    ("triangle-right", "▶"),
    ("triangle-left", "◀"),
)
"""Vega's shapes and the character that looks like each."""
CONTROL = "#8a8a8a"
"""Controls are grey everywhere."""


@dataclass(frozen=True)
class Mark:
    """How one compression is drawn."""

    colour: str
    shape: str
    glyph: str


def marks(compressions: Sequence[str]) -> dict[str, Mark]:
    """A mark for each compression, by order of appearance.

    Seven colours and eight shapes share no factor: 56 compressions before a pair repeats.
    """
    return {
        name: Mark(COLOURS[i % len(COLOURS)], *SHAPES[i % len(SHAPES)])
        for i, name in enumerate(dict.fromkeys(compressions))
    }
