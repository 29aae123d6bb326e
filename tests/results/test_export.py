"""One row an estimate, for spreadsheets, programs and data frames."""

import csv
import io
import json

import pyarrow.parquet as pq
import pytest

from bitlens.errors import BitlensError
from bitlens.results.export import export
from bitlens.results.store import Store
from bitlens.results.table_schema import ESTIMATES
from tests.support import results

COLUMNS = [
    "model",
    "compression",
    "bits",
    "analysis",
    "metric",
    "site",
    "item",
    "value",
    "low",
    "high",
    "documents",
    "intact",
    "chance",
    "worse",
    "reason",
    "seed",
]
CELLS = [
    ["=HYPERLINK(1)", "rtn:bits=4", 4.25, "behaviour", "kl", "logits", "", -0.1, -0.2, 1e-17, 20,
     0.0, None, "higher", None, 0],
    ["org/model", "rtn:bits=4", None, "behaviour", "kl", "resid.0", 'a "b", c\nd', None, None, None,
     0, 0.0, None, None, "kein Text: 模型", 7],
]  # fmt: skip
ROWS = [dict(zip(COLUMNS, cells, strict=True)) for cells in CELLS]


@pytest.fixture
def store(tmp_path):
    store = Store.create(tmp_path / "out")
    store.write_table("estimates", ROWS)
    results.complete(store)
    return store


def test_csv_keeps_every_number(store):
    """The columns are those promised, numbers come back exact, what is not there is empty."""
    rows = list(csv.reader(io.StringIO(export(store, "csv").decode(), newline="")))
    assert rows[0] == COLUMNS
    first, second = (dict(zip(COLUMNS, row, strict=True)) for row in rows[1:])
    for name in ("value", "low", "high", "bits"):
        assert float(first[name]) == ROWS[0][name]
    assert second["value"] == second["low"] == second["bits"] == ""
    assert second["item"] == ROWS[1]["item"]
    assert second["reason"] == ROWS[1]["reason"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_csv_runs_no_formula(store, text):
    """A name that a spreadsheet would run is defused; a negative number stays a number."""
    store.write_table("estimates", [ROWS[0] | {"model": text, "item": text}])
    _, row = csv.reader(io.StringIO(export(store, "csv").decode(), newline=""))
    assert row[0] == row[6] == "'" + text
    assert row[7] == "-0.1"


def test_json_is_strict(store):
    """JSON has null where there is no number, and every row as it was."""
    text = export(store, "json").decode()
    rows = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert rows == ROWS


def test_parquet_is_the_table(store):
    """Parquet holds the rows with their types."""
    table = pq.read_table(io.BytesIO(export(store, "parquet")))
    assert table.column_names == COLUMNS
    assert table.schema.equals(ESTIMATES)
    assert table.to_pylist() == ROWS


@pytest.mark.parametrize("format", ["csv", "json", "parquet"])
def test_the_same_store_exports_the_same_bytes(store, format):
    """Two exports are equal byte by byte."""
    assert export(store, format) == export(store, format)


def test_unknown_formats_and_missing_tables_are_said(store):
    """A misspelt format gets a suggestion, a store without estimates the file's name."""
    with pytest.raises(BitlensError, match="Did you mean json"):
        export(store, "jsn")
    (store.root / "estimates.parquet").unlink()
    with pytest.raises(BitlensError, match=r"estimates\.parquet"):
        export(store, "csv")
