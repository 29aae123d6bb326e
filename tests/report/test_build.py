"""The report is written whole, beside the results, the same every time."""

import os
import re
import shutil
import struct
from pathlib import Path

import pytest

from bitlens.errors import BitlensError
from bitlens.report import build as building
from bitlens.report.audit_results import AuditResults
from bitlens.report.build import build, page
from bitlens.report.page.parts import figures
from bitlens.report.page.pictures import WIDTHS


@pytest.mark.slow
def test_every_file_is_there(built: Path, results: AuditResults) -> None:
    """Page, summary, and each figure in three formats and two widths with its caption; nothing
    left over from writing."""
    kinds = (".txt", *(f"{width}.{kind}" for width in WIDTHS for kind in ("png", "svg", "pdf")))
    names = {f"{figure.name}{kind}" for figure in figures(page(results)) for kind in kinds}
    assert {path.name for path in (built / "charts").iterdir()} == names
    assert (built / "report.html").read_text().startswith("<!doctype html>")
    assert (built / "summary.md").read_text().startswith("# What compression changed in demo")
    assert not [path for path in built.rglob(".*") if path.is_file()]


def test_no_pictures_unless_asked_for(store: Path, tmp_path: Path) -> None:
    """A report is the page and its summary: pictures cost more than both."""
    copy = tmp_path / "results"
    shutil.copytree(store, copy, ignore=shutil.ignore_patterns("charts"))
    build(copy)
    assert not (copy / "charts").exists()


@pytest.mark.slow
def test_others_may_read_it(built: Path) -> None:
    """A report is for showing: its permissions are those of any new file."""
    assert os.stat(built / "report.html").st_mode & 0o444 == 0o444


@pytest.mark.slow
def test_pictures_show_marks(built: Path) -> None:
    """A chart that lost its data would still be a picture: curves and points must be in it."""
    svg = (built / "charts" / "layers-relative_error.svg").read_text()
    points = re.findall(r'aria-roledescription="point"', svg)
    lines = re.findall(r'aria-roledescription="line mark"', svg)
    assert len(points) >= 6 * 12, "six charts with three curves of four blocks"
    assert len(lines) >= 6 * 6
    for word in ("What the MLP adds", "rtn:bits=4,group=64"):
        assert word in svg
    caption = (built / "charts" / "layers-relative_error.txt").read_text()
    for prose in ("A line a twin", caption.splitlines()[0]):
        assert prose not in svg, "prose stands beside a picture, not in it"
    assert "A line a twin" in (built / "charts" / "layers-relative_error.txt").read_text()


@pytest.mark.slow
def test_pictures_are_as_wide_as_a_page_and_as_a_column(built: Path) -> None:
    """17 cm and 8.5 cm in every format, PNG with 300 dots an inch; labels can be read."""
    for path in (built / "charts").glob("*.svg"):
        wide = not path.stem.endswith("-column")
        millimetres = 170 if wide else 85
        head = path.read_text()[:1000]
        assert f' width="{millimetres}.00mm" height="' in head, path.name
        pdf = path.with_suffix(".pdf").read_bytes()
        box = re.search(rb"MediaBox \[0 0 ([\d.]+) [\d.]+\]", pdf)
        assert box is not None
        assert float(box[1]) == pytest.approx(millimetres * 72 / 25.4, abs=0.01), path.name
        header = path.with_suffix(".png").read_bytes()[:24]
        assert header[:8] == b"\x89PNG\r\n\x1a\n"
        (across,) = struct.unpack(">I", header[16:20])
        assert across == pytest.approx(millimetres / 25.4 * 300, abs=1), path.name
        drawn = re.search(r'viewBox="0 0 ([\d.]+) ', head)
        assert drawn is not None
        assert 12 * millimetres * 72 / 25.4 / float(drawn[1]) > 5.5, f"{path.name}: points"


@pytest.mark.slow
def test_a_failed_write_leaves_the_old_page(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk costs the new report, not the one that was there."""
    before = (built / "report.html").read_bytes()

    def full(source: object, target: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("bitlens.results.files.writing.os.replace", full)
    with pytest.raises(BitlensError, match="no space left"):
        building.write(built / "report.html", b"half")  # type: ignore[attr-defined]
    assert (built / "report.html").read_bytes() == before
    assert not list(built.glob(".*"))


def test_no_store_no_report(tmp_path: Path) -> None:
    """An empty folder stays empty."""
    with pytest.raises(BitlensError):
        build(tmp_path)
    assert not list(tmp_path.iterdir())
