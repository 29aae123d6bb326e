"""Token by token: which documents are shown, what of them, and how uneven the damage is."""

import numpy as np
import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.palette import marks
from bitlens.report.page.browsers import DocumentBrowser
from bitlens.report.page.markdown import markdown
from bitlens.report.page.parts import Part, Statement, Table
from bitlens.report.sections import documents as sections
from bitlens.report.sections.documents import documents, half, thinned
from tests.support.analysis_tables import HOSTILE, WORDS
from tests.support.audit_stores import DAMAGE


@pytest.fixture
def parts(deep: AuditResults) -> tuple[Part, ...]:
    """The section of a store with every table."""
    return documents(deep, "demo", marks([]))


@pytest.fixture
def browser(parts: tuple[Part, ...]) -> DocumentBrowser:
    """What can be read there."""
    (found,) = (part for part in parts if isinstance(part, DocumentBrowser))
    return found


def test_half_by_hand() -> None:
    """Of 5, 3, 1 and 1 the first is half; of four equal numbers two are; nothing has no half."""
    assert half(np.array([1.0, 5.0, 1.0, 3.0])) == 0.25
    assert half(np.full(4, 0.3)) == 0.5
    assert half(np.full(10, 0.1)) == 0.5
    assert half(np.zeros(3)) is None
    assert half(np.array([])) is None


def test_every_twin_has_its_documents(browser: DocumentBrowser, deep: AuditResults) -> None:
    """Those that the store keeps of it, as it keeps them; one text serves all twins."""
    assert [twin for twin, _ in browser.twins] == list(DAMAGE)
    assert browser.total == 30
    for twin, readings in browser.twins:
        kept = {r["number"]: r for r in deep.table("demo", twin, "behaviour", "documents")}
        for one in readings:
            row = kept[one.document.number]
            assert one.document.name == row["document"]
            assert (one.kl, one.positions, one.changed) == (row["kl"], 7, 2)
            assert list(one.kinds) == row["shown"]
            assert one.document.tokens == WORDS
        assert [(one.document.number, one.rank) for one in readings] == [
            (0, 1), (1, 2), (15, 16), (29, 30),
        ]  # fmt: skip
    first, second = (readings[0].document for _, readings in browser.twins[:2])
    assert first is second


def test_the_heading_counts_tokens_of_the_random_documents(
    parts: tuple[Part, ...], deep: AuditResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two documents of six tokens that count, KL as 2, 3, 4, 5, 6 and 7: twice 7 and twice 6 are
    26 of 54, less than half; one 5 more is enough, five of twelve. The worst does not count. Two
    are too few for a heading: there it says what is of all, two of seven positions."""
    often = "Under prune:sparsity=0.5 another token comes first at 28.6 % of the positions"
    assert parts[0] == Statement(often)
    monkeypatch.setattr(sections, "FEWEST_DRAWN", 2)
    found = documents(deep, "demo", marks([]))[0]
    assert found == Statement(
        "Half of what prune:sparsity=0.5 loses lies on 41.7 % of the tokens",
        "In 2 documents drawn at random.",
    )


def test_the_table_is_of_all_documents(parts: tuple[Part, ...]) -> None:
    """Thirty documents of 30, 29, ..., 1 times the damage: largest, middle (15.5, which
    is 3.255 or a hair below) and smallest; two of seven positions changed."""
    (table,) = (part for part in parts if isinstance(part, Table))
    (row,) = (row for row in table.rows if row[0] == "prune:sparsity=0.5")
    assert row[1:] == ("6.30", "3.25", "0.210", "28.6 %", "41.7 %")


def test_many_twins_have_fewer_documents_each() -> None:
    """Of six documents all are of every kind; two of each stay: 0 and 1 are farthest, 2 and 3 in
    the middle, and 0 and 1 the first of those drawn, in whatever order the table is."""
    rows = [{"number": n, "kl": 6.0 - n, "shown": ["worst", "median", "random"]} for n in range(6)]
    for table in (rows, rows[::-1]):
        kept = {row["number"]: row["shown"] for row in thinned(table, 2)}
        assert kept == {
            0: ["worst", "random"],
            1: ["worst", "random"],
            2: ["median"],
            3: ["median"],
            4: [],
            5: [],
        }


def test_a_store_without_them_has_no_section(results: AuditResults) -> None:
    """Cells of earlier versions have no such table."""
    assert documents(results, "demo", marks([])) == ()


def test_markdown_says_where_they_are(browser: DocumentBrowser) -> None:
    """How many of each twin; a hostile name stays on the page."""
    assert markdown(browser).startswith("rtn:bits=8 4 documents")
    assert HOSTILE in {one.document.name for _, of in browser.twins for one in of}
