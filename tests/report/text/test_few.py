"""Of too few documents numbers stand without interval and test, wherever they stand."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.build import page
from bitlens.report.page.html import html
from bitlens.report.page.parts import Column, Table
from bitlens.report.summary import summary
from bitlens.report.text.differences import way
from bitlens.report.text.few import sayable, sayable_detail
from bitlens.report.text.numbers import amount, margin, points
from bitlens.report.text.summary_table import summary_table
from bitlens.report.text.verdict import sentences
from bitlens.results.records import FEWEST, TOO_FEW
from bitlens.results.store import Store
from tests.support.audit_stores import write_store

RTN = "rtn:bits=4,group=64"
ROW: dict[str, Any] = {"value": 0.99, "low": 0.17, "high": 1.0, "reason": None}


@pytest.mark.parametrize(("documents", "said"), [(2, False), (19, False), (20, True), (120, True)])
def test_an_interval_takes_twenty_documents(documents: int, said: bool) -> None:
    """Fewer give the reason; enough the row as it is."""
    row = {**ROW, "documents": documents}
    found = sayable(row)
    assert (found == row) is said
    assert said or (found["value"], found["low"], found["high"]) == (0.99, None, None)
    assert said or found["reason"] == TOO_FEW


def test_a_contrast_loses_its_test() -> None:
    """Nothing is claimed of it; what an unchanged twin has is no guess and stays."""
    contrast = {"difference": 1.0, "low": 0.5, "high": 1.5, "p": 0.001, "q": 0.001}
    found = sayable({**contrast, "documents": FEWEST - 1, "reason": None})
    assert way(found) == ""
    assert found["p"] is found["q"] is None
    intact = {**ROW, "low": 0.99, "high": 0.99, "documents": 2}
    assert sayable(intact) == intact


def test_a_feature_loses_its_interval() -> None:
    """Its r stays; what is no interval is left as it is."""
    rows = [{"latent": 3, "r": 0.8, "r_low": 0.7, "r_high": 0.9, "sure": "survived"}]
    assert sayable_detail(rows, FEWEST) == rows
    (found,) = sayable_detail(rows, FEWEST - 1)
    assert found == {**rows[0], "r_low": None, "r_high": None}
    heads = [{"head": 1, "twin_low": 0.2}]
    assert sayable_detail(heads, 2) == heads


def test_it_is_written_in_the_interval_s_place() -> None:
    """In sentences in words, in tables as a sign that their caption explains."""
    row = sayable({**ROW, "documents": 2})
    assert amount(row, "share") == "99.0 % [too few documents to say]"
    assert points(row) == "99.0 points [too few documents to say]"
    assert margin(row, "share") == "99.0 % ±?"
    table = Table((Column("same top"),), ((margin(row, "share"),),), "Shares.")
    assert table.told == "Shares. ±?: too few documents to say."
    assert replace(table, rows=(("99.0 ±0.2 %",),)).told == "Shares."


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of every analysis, had it been measured on two documents."""
    path = write_store(tmp_path_factory.mktemp("two") / "results", ("demo",), deep=True)
    store = Store.open(path)
    manifest = store.manifest()
    for name in ("estimates", "contrasts"):
        rows = store.read_table(name).to_pylist()
        store.write_table(name, [{**row, "documents": 2} for row in rows])
    store.write_manifest(manifest)
    return path


@pytest.mark.slow
def test_a_page_of_two_documents_has_no_intervals(two: Path) -> None:
    """No table, sentence or chart of outputs and activations; the store keeps its numbers."""
    results = AuditResults.read(two)
    twin = next(twin for twin in results.measured("demo") if twin.compression == RTN)
    features = results.table("demo", RTN, "features", "features")
    assert features
    assert {row["r_low"] for row in features} == {row["r_high"] for row in features} == {None}
    told = " ".join(sentences(results, "demo", twin))
    assert "nats [too few documents to say]" in told
    assert "(not tested: too few documents to say)" in told
    assert "q =" not in told
    assert "±" not in re.sub(r"±\?", "", str(summary_table(results, "demo").rows))
    assert "\\[too few documents to say\\]" in summary(results)
    assert "±?: too few documents to say." in html(page(results))
    assert Store.open(two).read_table("estimates").to_pylist()[0]["low"] is not None
