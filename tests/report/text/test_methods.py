"""Names of methods are said in plain words."""

from bitlens.compression.compression import COMPRESSIONS
from bitlens.report.text.methods import METHODS, smaller, spelt_out


def test_every_method_is_spelt_out() -> None:
    """All that are registered here, and no other."""
    own = {n for n in COMPRESSIONS if COMPRESSIONS[n].__module__.startswith("bitlens.")}
    assert set(METHODS) == own


def test_a_name_is_spelt_out_by_what_it_begins_with() -> None:
    """Settings do not matter; a plug-in's method has no words."""
    assert spelt_out("rtn:bits=4,group=64") == spelt_out("rtn") == "round to nearest"
    assert spelt_out("mine:bits=4") == spelt_out("") == ""


def test_how_much_smaller_a_twin_is() -> None:
    """Said of one that takes less than the reference, and of no other."""
    assert smaller(1000, 250) == "4.00 times smaller"
    assert smaller(1000, 1000) == smaller(1000, None) == ""
