"""What a run rests on is cited, and nothing else is."""

import re
from pathlib import Path

import pytest
import yaml

from bitlens.analyses import ANALYSES
from bitlens.compression.compression import COMPRESSIONS
from bitlens.report.audit_results import AuditResults
from bitlens.report.bibliography import bibtex, sources

ROOT = Path(__file__).parents[2]
ARXIV = re.compile(r"arXiv (\d{4}\.\d{5})")


def test_bitlens_is_cited_as_it_asks_for(results: AuditResults) -> None:
    """Title and authors of CITATION.cff, with the version that measured."""
    asked = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    (first, *_) = bibtex(results).split("\n\n")
    assert f"title = {{{asked['title']}}}" in first
    assert f"author = {{{asked['authors'][0]['name']}}}" in first
    assert "note = {Version 0.1.0, Apache-2.0}" in first


def test_a_run_cites_its_own_sources(results: AuditResults, deep: AuditResults) -> None:
    """Of the analyses that were run and of how intervals were made."""
    keys = set(re.findall(r"^@\w+{(\w+)", bibtex(results), re.MULTILINE))
    assert {"bitlens", "kullback1951", "kornblith2019", "tukey1958"} <= keys
    assert not keys & {"duan2026", "frantar2022", "efron1979", "olsson2022"}
    assert "olsson2022" in bibtex(deep)


def test_every_entry_is_whole() -> None:
    """Balanced braces, a key of its own, a title and a year; nothing twice."""
    entries = [entry for _, entry in sources()]
    assert len(entries) > 25
    for entry in entries:
        assert entry.count("{") == entry.count("}")
        assert re.match(r"@\w+{[a-z]+\d{4}, author = ", entry)
        assert "title = " in entry
    assert len({entry.partition(",")[0] for entry in entries}) == len(entries)


@pytest.mark.parametrize("name", [*ANALYSES, *COMPRESSIONS])
def test_every_paper_that_a_method_names_is_known(name: str) -> None:
    """By its arXiv number: in what a compression says of itself, and in the sources of metrics."""
    kind = ANALYSES[name] if name in ANALYSES else COMPRESSIONS[name]
    if not kind.__module__.startswith("bitlens."):
        pytest.skip("a plug-in's own")
    told = kind.__doc__ or ""
    told += " ".join(metric.source for metric in getattr(kind, "metrics", ()))
    mine = " ".join(entry for names, entry in sources() if name in names)
    assert set(ARXIV.findall(told)) <= set(re.findall(r"eprint = {([\d.]+)}", mine))
