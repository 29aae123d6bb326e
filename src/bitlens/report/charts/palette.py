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
    "survived": Mark("#b9b3dc", "circle", "●"),
    "degraded": Mark("#cf6f5b", "square", "■"),
    "damaged": Mark("#8c1d18", "triangle-up", "▲"),
}
"""States of the reference's features: of different lightness, so that they differ without colour
too, and none near the colour of a compression."""
CERTAINTIES = {
    "surely survived": Mark("#6a55a0", "circle", "●"),
    "undecided": Mark("#e3d9c6", "square", "■"),
    "surely lost": Mark("#5e1240", "triangle-up", "▲"),
}
"""What a feature's interval says of the line at 0.9: not the same question as its state, so not
the same colours."""
DARK = {
    "#000000": "#ffffff",
    "#ffffff": "#15171b",
    INK: "#b4b8c0",
    "#222222": "#e6e7ea",
    "#444444": "#b4b8c0",
    "#5c5c5c": "#c0c4cc",
    "#bbbbbb": "#5a5e66",
    "#c8c8c8": "#666b75",
    "#d9d9d9": "#3c4048",
    "#eeeeee": "#2a2d33",
    "#e3e3e3": "#4a4e57",
    "#b9b3dc": "#7670a0",
    "#cf6f5b": "#b9705f",
    "#8c1d18": "#d9463b",
    "#6a55a0": "#7f6bc0",
    "#e3d9c6": "#8a816f",
    "#5e1240": "#c2185b",
    "#01665e": "#5ab4ac",
    "#8c510a": "#d8a24a",
}
"""What stands on a dark page for a colour that would be lost there; the others stay."""


def marks(compressions: Sequence[str]) -> dict[str, Mark]:
    """A mark for each compression, by order of appearance.

    Seven colours and eight shapes share no factor: 56 compressions before a pair repeats.
    """
    return {
        name: Mark(COLOURS[i % len(COLOURS)], *SHAPES[i % len(SHAPES)])
        for i, name in enumerate(dict.fromkeys(compressions))
    }
