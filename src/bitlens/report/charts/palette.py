"""Colours and shapes: each compression has one of each on every chart, table and line of a page."""

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
INK = "#555555"
"""The colour of reference lines."""


@dataclass(frozen=True)
class Mark:
    """How one compression is drawn."""

    colour: str
    shape: str
    glyph: str


NOISE = Mark(CONTROL, "circle", "○")
"""Noise where it is drawn by points: the hollow shape of its compression."""
NOISE_CURVE = Mark(CONTROL, "stroke", "▬")
"""Noise where it is drawn by curves."""
CAST = Mark(INK, "stroke", "┈")
PIECES = {
    "survived": Mark("#8fb0cc", "circle", "●"),
    "degraded": Mark("#e0a030", "square", "■"),
    "damaged": Mark("#8c1d18", "triangle-up", "▲"),
}
"""States of the reference's features: of different lightness, so that they differ without colour
too."""
CERTAINTIES = {
    "surely survived": PIECES["survived"],
    "undecided": Mark("#cfcfcf", "square", "■"),
    "surely lost": PIECES["damaged"],
}


def marks(compressions: Sequence[str]) -> dict[str, Mark]:
    """A mark for each compression, by order of appearance.

    Seven colours and eight shapes share no factor: 56 compressions before a pair repeats.
    """
    return {
        name: Mark(COLOURS[i % len(COLOURS)], *SHAPES[i % len(SHAPES)])
        for i, name in enumerate(dict.fromkeys(compressions))
    }
