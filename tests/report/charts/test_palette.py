"""The same compression looks the same everywhere, and never differs by colour alone."""

from bitlens.report.charts.palette import CONTROL, marks


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
