"""The page of a study of trained SAEs."""

from typing import Any

import pytest

from bitlens.report.page.parts import Figure, Table, figures
from bitlens.workflows.sae_study.results import estimates, ratios
from bitlens.workflows.sae_study.show import page, page_of, sentences
from tests.support.sae_studies import ABOUT, NARROW, WIDE

pytestmark = pytest.mark.slow
"""Drawing its figures takes a second or two."""

EVIL = "</script><script>alert(1)</script>"


def content(*configurations: dict[str, Any], **about: Any) -> dict[str, Any]:
    return {
        "about": {
            **ABOUT,
            "site": "resid.1",
            "architecture": "topk",
            "text": "texts.jsonl",
            "held out": {"documents": 12},
            **about,
        },
        "cka": {"rtn:bits=4": {"value": 0.97, "low": 0.96, "high": 0.98, "chance": 0.001}},
        "configurations": list(configurations),
        "estimates": [row for c in configurations for row in estimates(c, 64)],
        "ratios": ratios(configurations, 64),
    }


def drawn(figure: Figure) -> dict[str, set[str]]:
    """By chart, whose curves are in it."""
    return {
        panel.title: {point["who"] for point in panel.points if "who" in point}
        for strip in figure.strips
        for panel in strip.panels
    }


def test_the_published_ratio_stands_beside_that_of_random_matrices() -> None:
    """In a sentence, and every measure in a table: narrowest, widest, ratios of all columns."""
    facts, told, table = page(content(NARROW, WIDE)).sections[0].parts
    assert "debiased CKA of the activations 0.970 [0.960, 0.980]" in str(facts)
    assert "2.00 times as large at 0.5x as at 8x here; of random directions" in told.text  # type: ignore[union-attr]
    assert "2.95 times" in told.text  # type: ignore[union-attr]
    assert isinstance(table, Table)
    best = next(row for row in table.rows if row[0] == "best match")
    assert best == ("best match", "0.750", "0.375", "2.00", "2.00", "1.14", "2.50")


def test_chance_and_ceiling_are_drawn_into_every_chart() -> None:
    """And the formula's curve where there is one."""
    first, *_ = figures(page(content(NARROW, WIDE)))
    charts = drawn(first)
    assert charts["best match"] == {"rtn:bits=4", "seed ceiling", "random directions"}
    assert charts["in-sample Procrustes"] == charts["best match"] | {"random matrices"}
    xs = {p["x"] for s in first.strips for panel in s.panels for p in panel.points if "x" in p}
    assert xs == {"0.5x", "8x"}


def test_other_axes_are_drawn_where_there_is_more_than_one_value() -> None:
    """A curve a width, the rest as where most widths were trained."""
    assert "tokens" not in {f.name for f in figures(page(content(NARROW, WIDE)))}
    more = {**NARROW, "tokens": 4000}
    found = {f.name: f for f in figures(page(content(NARROW, WIDE, more)))}
    (chart, *_) = found["tokens"].strips[0].panels
    narrow = [p["x"] for p in chart.points if p.get("who") == "0.5x"]
    assert narrow == ["1,000", "4,000"]


def test_flows_are_means_over_seeds() -> None:
    """A row a width and category, a column a category of the twin."""
    sections = {s.title: s.parts for s in page(content(NARROW, WIDE)).sections}
    table = sections["rtn:bits=4"][-1]
    assert isinstance(table, Table)
    assert table.rows[1] == ("0.5x", "rare", "0", "2.00", "1", "0")


def test_one_width_says_so_and_nothing_is_refused() -> None:
    """There is no ratio, and a page."""
    short = page(content(NARROW)).sections[0].parts
    assert "One width alone" in short[1].text  # type: ignore[union-attr]
    (sentence,) = sentences(content(NARROW))
    assert sentence.endswith(short[1].text)  # type: ignore[union-attr]
    assert page_of(content(NARROW)).startswith("<!doctype html>")


def test_the_page_is_one_file_that_trusts_no_name() -> None:
    """Names are text; nothing is fetched; the same results give the same page."""
    evil = content(NARROW, WIDE, model=EVIL)
    text = page_of(evil)
    assert EVIL not in text
    assert text == page_of(evil)
    assert "src=" not in text.split("<script", 1)[0]


def test_a_twin_is_headed_by_what_width_does() -> None:
    """Whether the narrowest or the widest surely share more; nothing of one width alone."""
    found = [section.found for section in page(content(NARROW, WIDE)).sections]
    (told,) = filter(None, found)
    assert "rtn:bits=4" in told.text
    assert told.numbers.startswith("Best matches, 0 by chance and 1 with another seed: 0.5x ")
    assert not any(section.found for section in page(content(NARROW)).sections)
