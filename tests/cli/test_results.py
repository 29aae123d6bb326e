"""report and export: what is read off results that are there."""

import csv
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.commands import Command


@pytest.mark.slow
def test_estimates_are_exported(audited: tuple[list[str], str], bitlens: Command, tmp_path: Path):
    """The same rows as CSV, JSON and Parquet; on standard output where it is text."""
    folder = audited[0][-1]
    rows = list(csv.DictReader(io.StringIO(bitlens("export", folder).out)))
    assert json.loads(bitlens("export", folder, "--format", "json").out)[0].keys() == rows[0].keys()
    assert bitlens("export", folder, "--format", "parquet", "--out", tmp_path / "a").code == 0
    assert pq.read_table(tmp_path / "a").num_rows == len(rows) > 50
    refused = bitlens("export", folder, "--out", tmp_path / "a" / "where.csv")
    assert (refused.code, refused.out) == (2, "")
    assert "where.csv cannot be written" in refused.err


@pytest.mark.slow
def test_a_report_is_written_again(audited: tuple[list[str], str], bitlens: Command):
    """From the store alone."""
    page = Path(audited[0][-1]) / "report.html"
    content = page.read_bytes()
    page.unlink()
    done = bitlens("report", audited[0][-1])
    assert done.out == f"Report: {page}\n"
    assert page.read_bytes() == content
