"""The sentence and the section on probes: what is claimed of a frozen probe, and beside what."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bitlens.analyses.probes.metrics import METRICS
from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.palette import marks
from bitlens.report.page.parts import Statement
from bitlens.report.sections.probes import probes
from bitlens.report.text.probes import ELSEWHERE, monitors
from bitlens.results.records import REFERENCE, TwinRecord
from bitlens.results.store import Store

ITEM = "moods, logistic"
METRICS_SAID = {f"probes.{metric.name}": asdict(metric) for metric in METRICS}


def row(who: str, metric: str, value: float, half: float = 0.01, of: str = "") -> Row:
    """A number of the set `moods` after block 1."""
    return {
        **{"model": "m", "compression": who, "analysis": "probes", "metric": metric},
        **{"site": "resid.1", "item": ITEM + of, "value": value, "low": value - half},
        **{"high": value + half, "chance": 0.5, "seed": 0, "documents": 240, "reason": None},
    }


def contrast(metric: str, control: str, difference: float, q: float) -> Row:
    """Of the twin against another."""
    return {
        **row("twin", metric, 0.0), "control": control, "difference": difference, "p": q, "q": q,
        "low": difference - 0.01, "high": difference + 0.01, "reason": None,
    }  # fmt: skip


def results(tmp_path: Path, *, lost: float, rate: float, sure: bool, noise: float) -> AuditResults:
    """A twin with noise of its size: what its frozen probe loses, and what it flags."""
    rows = [
        row("twin", "auc_choosing", 0.9), row("twin", "auc_reference", 0.9),
        row("twin", "auc_frozen", 0.9 - lost), row("twin", "auc_refitted", 0.9),
        row("twin", "lost", lost), row("twin", "lost_by_rotation", lost),
        row("twin", "false_positive_change", rate - 0.01),
        row("twin", "false_positives", rate, of=", twin"),
        row("noise", "auc_frozen", 0.8), row("noise", "false_positives", noise, of=", twin"),
    ]  # fmt: skip
    q = 0.001 if sure else 0.5
    twins = [
        TwinRecord(compression="twin", control=False),
        TwinRecord(compression="noise", control=True, like="twin"),
    ]
    model: dict[str, Any] = {"name": "m", "blocks": 2}
    records = [{"model": "m", **asdict(twin)} for twin in twins]
    return AuditResults(
        manifest={
            "models": [model],
            "twins": records,
            "metrics": METRICS_SAID,
            "checks": [],
            "cells": [],
        },
        run={},
        estimates=rows,
        contrasts=[
            contrast("lost", REFERENCE, lost, q),
            contrast("false_positive_change", REFERENCE, rate - 0.01, q),
            contrast("false_positive_change", "noise", rate - noise, 0.2),
        ],
        coverage=[],
        store=Store(tmp_path),
    )


@pytest.mark.parametrize(
    ("rate", "sure", "said"),
    [(0.25, True, True), (0.25, False, False), (0.025, True, False), (ELSEWHERE, True, False)],
)
def test_a_threshold_is_said_to_flag_more_where_it_surely_does(
    tmp_path: Path, rate: float, sure: bool, said: bool
) -> None:
    """Surely more than in the reference, and more than the same threshold would flag of texts that
    it was not set on; with what noise does, and how sure the difference from it is."""
    given = results(tmp_path, lost=0.2, rate=rate, sure=sure, noise=0.3)
    told = " ".join(one.text for one in monitors(given, "m", "twin"))
    assert (
        "flags 25.0 % [24.0, 26.0], and under noise of its size 30.0 % [29.0, 31.0]" in told
    ) == said
    assert ("q = 0.2" in told) == said
    headings = [
        part.text for part in probes(given, "m", marks(["twin"])) if isinstance(part, Statement)
    ]
    assert ("In twin the threshold for 1 % flags 25 % of other texts (moods)" in headings) == said


@pytest.mark.parametrize(
    ("sure", "heading"),
    [
        (True, "In twin the probe for moods falls from 0.90 to 0.70; one learned again gets most "
         "of it back"),
        (False, "No frozen probe surely ranks worse in a twin"),
    ],
)  # fmt: skip
def test_the_section_says_what_is_lost(tmp_path: Path, sure: bool, heading: str) -> None:
    """By the stored test, not by a number alone."""
    given = results(tmp_path, lost=0.2, rate=0.01, sure=sure, noise=0.01)
    first = probes(given, "m", marks(["twin"]))[0]
    assert isinstance(first, Statement)
    assert first.text == heading


def test_a_threshold_for_one_percent_flags_no_more_than_two_elsewhere() -> None:
    """(k + 1) / (n + 1) by hand for every n that a threshold is set on."""
    assert max((n // 100 + 1) / (n + 1) for n in range(100, 5000)) == pytest.approx(2 / 101)
    assert ELSEWHERE > 2 / 101
