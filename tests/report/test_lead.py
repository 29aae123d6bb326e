"""The page begins with which twins may be used."""

from dataclasses import replace

from bitlens.report.audit_results import AuditResults
from bitlens.report.hero import Hero, hero
from bitlens.report.lead import against_noise, first_to_break, lead
from bitlens.report.status import Word
from tests.support.audit_stores import RTN


def rows(deep: AuditResults, *words: Word) -> list[Hero]:
    """A twin of each word, called a, b, c, ..."""
    (twin,) = (one for one in deep.measured("demo") if one.compression == RTN)
    one = hero(deep, "demo", twin)
    assert one.status is not None
    return [
        replace(one, twin=replace(twin, compression=name), status=replace(one.status, word=word))
        for name, word in zip("abcdefgh", words, strict=False)
    ]


def test_every_twin_is_told_once(deep: AuditResults) -> None:
    """The best first, and of one that a failed check bears on nothing is recommended."""
    found = rows(deep, "broken", "intact", "damaged", "damaged", "intact")
    assert lead(found, {"e"}) == (
        "b can stand in for the reference; test c and d on your own task first; do not use a; "
        "of e nothing is sure, for a check failed"
    )


def test_what_breaks_first_is_of_the_mildest_twin_that_changed(deep: AuditResults) -> None:
    """Nothing breaks where none did."""
    assert first_to_break(deep, "demo", rows(deep, "intact", "undecided")) == ""
    (twin,) = (one for one in deep.measured("demo") if one.compression == RTN)
    one = hero(deep, "demo", twin)
    assert one.status is not None
    broken = replace(one, status=replace(one.status, word="broken"))
    assert first_to_break(deep, "demo", [broken]).endswith(
        f" left at {RTN}, the mildest that changes anything."
    )


def test_noise_is_told_once_for_all(deep: AuditResults) -> None:
    """Which twins do more damage than it, and to what; nothing where none was run."""
    (twin,) = (one for one in deep.measured("demo") if one.compression == RTN)
    told = against_noise(deep, "demo", [hero(deep, "demo", twin)])
    assert told == f"{RTN} (to the outputs) does more damage than random noise of the same size."
    bare = replace(deep, contrasts=[])
    assert against_noise(bare, "demo", [hero(deep, "demo", twin)]) == ""
