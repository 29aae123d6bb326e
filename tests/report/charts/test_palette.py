"""The same compression looks the same everywhere, and never differs by colour alone."""

import itertools
import math

from bitlens.report.charts.palette import CERTAINTIES, COLOURS, CONTROL, PIECES, marks


def test_marks_do_not_repeat() -> None:
    """56 compressions have 56 pairs of colour and shape; none has the grey of controls."""
    drawn = marks([f"rtn:bits={i}" for i in range(56)])
    pairs = {(mark.colour, mark.shape) for mark in drawn.values()}
    assert len(pairs) == 56
    assert CONTROL not in {mark.colour for mark in drawn.values()}


def test_neighbours_differ_in_shape_too() -> None:
    """Readers who see no colours, and black and white prints, still tell the first eight apart."""
    drawn = list(marks([f"rtn:bits={i}" for i in range(8)]).values())
    assert len({mark.shape for mark in drawn}) == len({mark.glyph for mark in drawn}) == 8


def test_repeated_names_share_a_mark() -> None:
    """Two models with the same compression: one mark, and the next name gets the second."""
    assert marks(["a", "b", "a"]) == marks(["a", "b"])


def lightness(colour: str) -> float:
    """CIE L* of a colour, 0 black to 100 white."""
    return lab(colour)[0]


def lab(colour: str) -> tuple[float, float, float]:
    """CIE L*a*b* of an sRGB colour under D65."""
    linear = []
    for at in (1, 3, 5):
        share = int(colour[at : at + 2], 16) / 255
        linear.append(share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4)
    red, green, blue = linear
    weights = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    roots = []
    for (r, g, b), white in zip(weights, (0.9505, 1.0, 1.089), strict=True):
        ratio = (r * red + g * green + b * blue) / white
        roots.append(ratio ** (1 / 3) if ratio > 0.008856 else 7.787 * ratio + 16 / 116)
    x, y, z = roots
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def test_no_colour_has_two_meanings() -> None:
    """States, certainties and compressions are told apart at a glance (CIE76 of 20 and more)."""
    meant = [m.colour for m in (*PIECES.values(), *CERTAINTIES.values())]
    assert len(set(meant)) == 6
    for i, colour in enumerate(meant):
        for other in (*meant[i + 1 :], *COLOURS):
            assert math.dist(lab(colour), lab(other)) >= 20, (colour, other)


def test_states_differ_without_colour() -> None:
    """The more is lost, the darker, by 15 of 100 steps of lightness at least."""
    for kinds in (PIECES, CERTAINTIES):
        found = sorted(lightness(mark.colour) for mark in kinds.values())
        assert min(b - a for a, b in itertools.pairwise(found)) >= 15
