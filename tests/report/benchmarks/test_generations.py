"""What models wrote, on the page."""

from dataclasses import replace
from pathlib import Path

from bitlens.report.benchmarks.generations import written_parts
from bitlens.report.benchmarks.page import build
from bitlens.report.page.parts import Details, SideBySide, Table
from bitlens.results.benchmarks.folder import Benchmarked, read_benchmarks, write_benchmarks
from bitlens.results.records import REFERENCE
from tests.support.benchmarks import CAST, TWIN, benchmarked, wrote

QUESTIONS, LOST = 24, 2
EVIL = "</script><img src=x onerror=alert(1)>"


def found(root: Path) -> Benchmarked:
    """24 answers; the twin loses the first two, of which one is cut off, after two letters."""
    base = benchmarked(root, lost=LOST, questions=QUESTIONS)
    reference = wrote(REFERENCE, [f"1 {EVIL}"] * QUESTIONS)
    parted = {"shared": 2, "before": "1 ", "token": "\n", "reference_token": "<"}
    twin = [
        replace(one, **parted, text="1 \nx", tokens=9) if one.doc < LOST else one
        for one in wrote(TWIN, [f"1 {EVIL}"] * QUESTIONS)
    ]
    twin[1] = replace(twin[1], ended="budget", ran="failed: NameError: x")
    cast = wrote(CAST, [f"1 {EVIL}"] * QUESTIONS)
    return replace(base, generations=[*reference, *twin, *cast])


def test_answers_that_flip_stand_side_by_side(tmp_path: Path) -> None:
    """Both texts, cut where they part, the token marked; cut off is not called wrong."""
    *tables, details = written_parts(found(tmp_path), "tiny")
    assert isinstance(details, Details)
    assert details.summary == f"{TWIN} on quiz: 2 answers flipped, side by side"
    (part,) = details.parts
    assert isinstance(part, SideBySide)
    first, second = part.pairs
    assert first.title == "quiz_task, question 0: lost; parts after 2 tokens"
    texts = (first.reference.before, first.reference.token, first.reference.after)
    assert texts == ("1 ", "<", EVIL[1:])
    assert (first.twin.before, first.twin.token, first.twin.after) == ("1 ", "↵\n", "x")
    assert first.twin.note == "wrong; 9 tokens, stopped at a stop string"
    assert second.twin.note.startswith("not finished, failed: NameError: x; 9 tokens, cut off")
    parting, ending = tables
    assert isinstance(parting, Table)
    assert isinstance(ending, Table)
    row = parting.rows[0]
    # 22 of 24 are the same: Wilson's interval; the tenth that part first do so after 2 tokens, or
    # never.
    assert row[2:4] == ("24", "92 % [74, 98]")
    assert row[5:7] == ("never", "never")
    assert ending.rows[1] == ("quiz", TWIN, "22", "1", "1", "1")


def test_where_no_answer_flips_those_that_part_first_are_shown(tmp_path: Path) -> None:
    """And where no text differs, that is said."""
    base = benchmarked(tmp_path, lost=0, questions=QUESTIONS)
    same = [*wrote(REFERENCE, ["ab"] * QUESTIONS), *wrote(TWIN, ["ab"] * QUESTIONS)]
    *_, told = written_parts(replace(base, generations=same), "tiny")
    assert "no text differs" in str(told)
    late = [
        replace(one, shared=9 - one.doc, before="a", token="b") if one.compression == TWIN else one
        for one in same
        if one.doc < 5
    ]
    *_, details = written_parts(replace(base, generations=late), "tiny")
    assert isinstance(details, Details)
    (part,) = details.parts
    assert isinstance(part, SideBySide)
    assert [pair.title.split(":")[0] for pair in part.pairs] == [
        f"quiz_task, question {n}" for n in (4, 3, 2)
    ]


def test_text_stays_text_and_is_kept(tmp_path: Path) -> None:
    """It is written, read again, and escaped on the page; unseen characters are told."""
    whole = found(tmp_path)
    hidden = [replace(whole.generations[0], text="1 <\u202eb"), *whole.generations[1:]]
    write_benchmarks(replace(whole, generations=hidden))
    assert read_benchmarks(tmp_path).generations == hidden
    page = build(tmp_path).read_text()
    assert EVIL not in page
    assert "<mark>&lt;</mark>/script&gt;&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<mark>&lt;</mark>⟨U+202E⟩b" in page
    assert "<mark>↵\n</mark>" in page
