"""Rows are selected by patterns, in order, whatever else a table holds."""

from pathlib import Path

import pytest

from bitlens.results.gating.numbers import NumberTable
from bitlens.results.gating.rule import matches
from bitlens.results.store import Store
from tests.support.gate_stores import NOISE, RTN, gate_store, rule


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> NumberTable:
    """Of a twin and its noise: a KL and two perplexities each."""
    store = Store(gate_store(tmp_path_factory.mktemp("numbers") / "run"))
    return NumberTable(store.read_table("estimates"))


@pytest.mark.parametrize(
    ("asked", "places"),
    [
        ({}, [(RTN, ""), (NOISE, "")]),
        ({"twin": RTN}, [(RTN, "")]),
        ({"metric": "*perplexity", "item": "tw?n"}, [(RTN, "twin"), (NOISE, "twin")]),
        ({"metric": "*", "twin": "noise*"}, [(NOISE, i) for i in ("", "reference", "twin")]),
        ({"site": "resid.*"}, []),
        ({"model": "n"}, []),
        ({"metric": "kl"}, []),
    ],
)
def test_rows_are_those_that_every_pattern_names(
    table: NumberTable, asked: dict[str, str], places: list[tuple[str, str]]
) -> None:
    """Each pattern is held against its own column."""
    assert [(row["compression"], row["item"]) for row in table.of(rule(1, **asked))] == places


def test_an_empty_table_has_no_rows(tmp_path: Path) -> None:
    """And no names."""
    store = Store(gate_store(tmp_path / "run"))
    store.write_table("contrasts", [])
    empty = NumberTable(store.read_table("contrasts"))
    assert (empty.metrics, empty.known("site"), empty.of(rule(1))) == ([], [], [])
    assert matches("*", "")
