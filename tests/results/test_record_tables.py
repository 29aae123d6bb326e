"""Records come back from a table as they were written, or the table is refused."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bitlens.errors import ResultsError
from bitlens.results.record_tables import read_records, write_records

SCHEMA = pa.schema([pa.field("name", pa.string(), False), pa.field("value", pa.float64())])


@dataclass(frozen=True)
class Named:
    """A number that may be missing, with its name."""

    name: str
    value: float | None


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Missing numbers too; what vouched for the folder is gone from then on."""
    vouching = tmp_path / "all.json"
    vouching.write_text("{}")
    records = [Named("a", 1.5), Named("ü", None)]
    write_records(tmp_path, "named", records, SCHEMA, vouching)
    assert read_records(tmp_path, "named", Named, SCHEMA, "run it again.") == records
    assert not vouching.exists()


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    """With the file, and what brings it back."""
    path = tmp_path / "named.parquet"
    pq.write_table(pa.table({"name": ["a"], "other": [1.0]}), path)
    with pytest.raises(ResultsError) as caught:
        read_records(tmp_path, "named", Named, SCHEMA, "run it again.")
    assert str(path) in caught.value.found
    assert "run it again." in caught.value.remedy
