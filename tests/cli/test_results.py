"""report, view, card, compare and export: what is read off results that are there."""

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
    done = bitlens("export", folder, "--format", "parquet", "--out", tmp_path / "a")
    assert (done.code, done.out) == (0, f"Wrote {len(rows):,} estimates to {tmp_path / 'a'}.\n")
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


@pytest.mark.slow
@pytest.mark.parametrize("there", [True, False])
def test_a_report_is_opened_in_a_browser(
    audited: tuple[list[str], str], bitlens: Command, monkeypatch: pytest.MonkeyPatch, there: bool
):
    """By its address; where there is no browser that is said, and it is no failure."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: bool(opened.append(url)) or there)
    page = Path(audited[0][-1]) / "report.html"
    done = bitlens("view", page.parent)
    assert (done.code, opened) == (0, [page.resolve().as_uri()])
    assert done.out.startswith(f"Report: {page}\n")
    assert ("No browser was found" in done.out) is not there


@pytest.mark.slow
def test_a_report_that_is_missing_is_written_before_it_is_opened(
    audited: tuple[list[str], str], bitlens: Command, monkeypatch: pytest.MonkeyPatch
):
    """From the store; a folder without results is refused."""
    monkeypatch.setattr("webbrowser.open", lambda url: True)
    page = Path(audited[0][-1]) / "report.html"
    page.unlink()
    assert bitlens("view", page.parent).code == 0
    assert page.is_file()
    assert bitlens("view", page.parent.parent).code == 2


@pytest.mark.slow
@pytest.mark.parametrize(("form", "sign"), [("latex", r"\toprule"), ("markdown", "| --- |")])
def test_tables_for_papers_are_exported(
    audited: tuple[list[str], str], bitlens: Command, tmp_path: Path, form: str, sign: str
):
    """On standard output, or to a file that is said."""
    folder = audited[0][-1]
    printed = bitlens("export", folder, "--format", form)
    assert sign in printed.out
    file = tmp_path / "table"
    done = bitlens("export", folder, "--format", form, "--out", file)
    assert done.out == f"Wrote 1 summary table to {file}.\n"
    assert file.read_text() == printed.out


@pytest.mark.slow
def test_runs_are_compared(
    audited: tuple[list[str], str],
    bitlens: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """A finding, one table that fits 80 columns, and the page; a folder of others is left alone."""
    monkeypatch.setenv("COLUMNS", "80")
    folder, out = audited[0][-1], tmp_path / "out"
    done = bitlens("compare", folder, "--out", out)
    assert done.code == 0
    assert done.out.endswith(f"\nPage: {out / 'compare.html'}\n")
    assert " by KL divergence.\n" in done.out.splitlines(keepends=True)[0]
    assert max(map(len, done.out.splitlines()[:6])) <= 80
    assert bitlens("compare", folder, "--out", out).out == done.out
    (out / "mine.txt").write_text("mine")
    refused = bitlens("compare", folder, "--out", out)
    assert (refused.code, refused.out) == (2, "")
    assert "mine.txt, which compare would not write" in refused.err


@pytest.mark.slow
def test_a_card_and_the_sources_are_written(
    audited: tuple[list[str], str], bitlens: Command, tmp_path: Path
):
    """On standard output, or to a file that is said; a twin that is none is refused."""
    folder, file = audited[0][-1], tmp_path / "card.md"
    printed = bitlens("card", folder, "--twin", "rtn:bits=4")
    assert printed.out.startswith("## What compression changed\n\n### rtn:bits=4 of ")
    done = bitlens("card", folder, "--twin", "rtn:bits=4", "--out", file)
    assert done.out == f"Wrote a model card's fragment to {file}.\n"
    assert file.read_text() == printed.out
    assert bitlens("card", folder, "--twin", "rtn:bits=5").code == 2
    assert bitlens("export", folder, "--format", "bibtex").out.startswith("@misc{bitlens, ")
