"""The section on kinds of text: what is claimed of a kind, and on what it rests."""

from pathlib import Path
from typing import Any

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.palette import marks
from bitlens.report.findings.kinds_of_text import kinds
from bitlens.report.page.parts import Figure, Statement, Table
from bitlens.report.sections.categories import categories
from bitlens.results.store import Store
from tests.support.audit_stores import write_store

RTN = "rtn:bits=4,group=64"


def row(
    compression: str, category: str, value: float, others: float, **more: Any
) -> dict[str, Any]:
    """A number of KL by kind, with a test unless `more` says otherwise."""
    return {
        "model": "demo", "compression": compression, "analysis": "behaviour", "category": category,
        "metric": "kl", "site": "logits", "item": "", "value": value, "low": 0.9 * value,
        "high": 1.1 * value, "others": others, "difference": value - others,
        "difference_low": value - others - 0.01, "difference_high": value - others + 0.01,
        "p": 0.001, "q": 0.002, "documents": 40, "documents_others": 60, "intact": 0.0,
        "chance": 9.0, "worse": "higher", "reason": None, "unsaid": None, "seed": 0, **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("kinds") / "results", ("demo",))


def shown(folder: Path, *rows: dict[str, Any]) -> tuple[AuditResults, tuple[Any, ...]]:
    """The section of a store with these rows."""
    store = Store(folder)
    manifest = store.manifest()
    store.write_table("categories", rows)
    store.write_manifest({k: v for k, v in manifest.items() if k != "schema"})
    results = AuditResults.read(folder)
    drawn = marks([twin.compression for twin in results.twins("demo")])
    return results, categories(results, "demo", drawn)


def test_the_kind_that_is_surely_hit_harder_comes_first(folder: Path) -> None:
    """With its number, that of all others, the test, and noise; English, which is hit less, is in
    the table alone."""
    noise = f"noise:like=[{RTN}]"
    results, parts = shown(
        folder,
        row(RTN, "zh", 0.3, 0.1),
        row(RTN, "en", 0.1, 0.3),
        row(noise, "zh", 0.2, 0.19, q=0.6),
    )
    statement, table, figure, _ = parts
    assert isinstance(statement, Statement)
    assert statement.text == f"“zh” is hit harder than the rest in {RTN}."
    assert "0.300 nats [0.270, 0.330] there, 0.100 nats in all others" in statement.numbers
    assert "q = 0.002" in statement.numbers
    assert "of noise that is not sure" in statement.numbers
    assert isinstance(table, Table)
    assert [line[0] for line in table.rows] == ["zh", "en"]
    assert isinstance(figure, Figure)
    (found,) = kinds(results, "demo")
    assert found.twins == (RTN,)


def test_without_a_sure_difference_none_is_claimed(folder: Path) -> None:
    """Neither by a q above 0.05, nor of too few documents, whose intervals are not shown."""
    results, parts = shown(
        folder,
        row(RTN, "zh", 0.3, 0.1, q=0.2),
        row(RTN, "en", 0.3, 0.1, q=None, p=None, difference_low=None,
            difference_high=None, documents=3, unsaid="few"),
    )  # fmt: skip
    assert parts[0].text.startswith("No kind of text is surely hit harder")
    assert list(kinds(results, "demo")) == []
    assert results.categories[1]["low"] is None


def test_every_kind_that_is_hit_harder_is_told_with_its_twins(folder: Path) -> None:
    """No order among them: that one of two is hit hardest was never tested. The kind of most twins
    stands first."""
    other = next(
        twin.compression
        for twin in AuditResults.read(folder).measured("demo")
        if twin.compression != RTN
    )
    results, parts = shown(
        folder, row(RTN, "ru", 0.4, 0.1), row(RTN, "zh", 0.3, 0.1), row(other, "zh", 0.3, 0.1)
    )
    both = next(one for one in kinds(results, "demo") if len(one.twins) == 2)
    assert set(both.twins) == {RTN, other}
    assert parts[0].text == (
        f"“zh” is hit harder than the rest in {', '.join(both.twins)}; “ru” in {RTN}."
    )
    assert [one.title.split(" is ")[0] for one in kinds(results, "demo")] == ["“zh”", "“ru”"]


def test_intervals_of_drawn_documents_claim_nothing(folder: Path) -> None:
    """They have no q: of many kinds and twins some interval always misses 0."""
    results, parts = shown(folder, row(RTN, "zh", 0.3, 0.1, q=None, p=None))
    assert parts[0].text.endswith("was not tested.")
    assert list(kinds(results, "demo")) == []


def test_without_categories_there_is_no_section(results: AuditResults) -> None:
    """Nothing where nobody asked."""
    assert categories(results, "demo", {}) == ()
    assert list(kinds(results, "demo")) == []
