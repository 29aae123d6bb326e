"""Claims of a difference from a control follow the stored contrasts, and nothing else."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.build import page
from bitlens.report.charts.palette import marks
from bitlens.report.page.parts import Figure, figures
from bitlens.report.sections.attention import attention
from bitlens.report.text import differences
from bitlens.report.text.differences import surely, way
from bitlens.report.text.verdict import sentences
from tests.support.audit_stores import with_rows

TOLD = ("attention", "behaviour", "heads", "transfer")
NONE: dict[str, Any] = {"difference": None, "low": None, "high": None, "p": None, "q": None}


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({"difference": 1.0, "p": 0.001, "q": 0.01}, "more"),
        ({"difference": -1.0, "p": 0.001, "q": 0.05}, "less"),
        ({"difference": 1.0, "p": 0.001, "q": 0.06, "low": 0.5, "high": 1.5}, ""),
        ({"difference": 1.0, "p": 0.03}, "more"),
        ({"difference": 1.0, "low": 0.5, "high": 1.5}, "more"),
        ({"difference": -1.0, "low": -1.5, "high": -0.5}, "less"),
        ({"difference": 1.0, "low": -0.5, "high": 1.5}, ""),
        ({"difference": 1.0}, ""),
        ({"difference": 0.0, "p": 1.0, "q": 1.0}, ""),
        ({}, ""),
    ],
)
def test_which_way(numbers: dict[str, float], expected: str) -> None:
    """By q, else p; draws of documents have neither, there the interval of the difference says."""
    assert way({**NONE, **numbers}) == expected


def test_without_a_contrast_nothing_is_said() -> None:
    """Neither which way nor how sure."""
    assert way(None) == differences.tested(None, "nats") == surely(None) == ""


def test_drawn_documents_tell_the_interval_of_a_difference() -> None:
    """They have no p, and nothing is the reason for it; too few documents are one."""
    drawn = {**NONE, "difference": 1.0, "low": 0.5, "high": 1.5, "reason": None}
    said = differences.tested(drawn, "nats")
    assert said.startswith(" (difference 1.00 nats [0.50")
    assert said.endswith("no p of drawn documents)")
    few = differences.tested({**drawn, "reason": "too few"}, "nats")
    assert few == " (not tested: too few)"


def claimed(results: AuditResults) -> Iterator[str]:
    """What a page claims of differences: coloured heads, and sentences less their numbers."""
    drawn = marks([twin.compression for twin in results.twins("demo")])
    for part in attention(results, "demo", drawn):
        for figure in figures(part):
            if figure.name == "attention-jsd":
                yield from map(str, coloured(figure))
    for twin in results.measured("demo"):
        for told in sentences(results, "demo", twin):
            if any(word in told for word in ("noise", "cast", "surely", "recovers less")):
                yield re.sub(r"\[[^\]]*\]|\d[\d.,e−]*", "", told)


def coloured(figure: Figure) -> list[tuple[str, str, str]]:
    """By chart and head, whether it is in colour."""
    return [
        (strip.title, str(point["item"]), str(point["is"]))
        for strip in figure.strips
        for panel in strip.panels
        for point in panel.points
    ]


@pytest.mark.slow
@pytest.mark.parametrize("width", [0.01, 30.0])
def test_intervals_of_single_estimates_claim_no_difference(
    deep: AuditResults, width: float
) -> None:
    """A law: were every interval of attention, outputs, heads and splices so much narrower or
    wider, the same differences from controls and the reference would be claimed."""

    deep = with_rows(deep, heads__induction_mean_change__pattern=(-0.1, -0.12, -0.08))

    def other(row: dict[str, Any]) -> dict[str, Any]:
        if row["low"] is None or row["analysis"] not in TOLD:
            return row
        low, high = ((row[end] - row["value"]) * width + row["value"] for end in ("low", "high"))
        return {**row, "low": low, "high": high}

    changed = replace(deep, estimates=list(map(other, deep.estimates)))
    ours, theirs = (
        [c for c in claimed(of) if not c.startswith(("Hidden", "Perplexity ×"))]
        for of in (deep, changed)
    )
    assert ours == theirs
    assert any("times that of" in c for c in ours)
    assert any("surely fell" in c for c in ours)
    assert any("recovers less" in c for c in ours)


@pytest.mark.slow
def test_a_twin_like_its_noise_differs_nowhere(deep: AuditResults) -> None:
    """A law: where no contrast is sure no head is in colour, however far apart intervals are."""
    rows = [{**row, "p": 0.9, "q": 0.99} for row in deep.contrasts]
    same = replace(deep, contrasts=rows)
    (figure,) = (f for f in figures(page(same)) if f.name == "attention-jsd")
    for strip in figure.strips:
        twin, noise = strip.panels
        assert {point["is"] for point in twin.points} == {"muted"}
        assert {point["is"] for point in noise.points} == {"head"}
    assert "disagree" not in " ".join(claimed(same))
