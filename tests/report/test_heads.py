"""Heads of three kinds: what they scored, what stays above thresholds, copying."""

import json
import re
from dataclasses import replace

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.palette import Mark, marks
from bitlens.report.page.markdown import markdown
from bitlens.report.page.parts import Details, Figure, Prose, Table, figures
from bitlens.report.sections.heads import heads

RTN = "rtn:bits=4,group=64"
PRUNED = "prune:sparsity=0.5"


@pytest.fixture
def drawn(deep: AuditResults) -> dict[str, Mark]:
    """The marks of the store's compressions."""
    return marks([twin.compression for twin in deep.twins("demo")])


def figure(parts: tuple, name: str) -> Figure:
    """The figure of this name."""
    return next(f for part in parts for f in figures(part) if f.name == name)


def test_scores_hold_twin_noise_and_chance(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """A strip a kind; head 1.1's induction score falls from 0.64, more than under noise."""
    scores = figure(heads(deep, "demo", drawn), "heads-scores")
    assert [strip.title.split(":")[0] for strip in scores.strips] == [
        "Induction", "Previous token", "Duplicate token",
    ]  # fmt: skip
    points = scores.strips[0].panels[2].points
    own = {p["item"]: p for p in points if p["is"] == "compression"}
    noise = {p["item"]: p for p in points if p["is"] == "noise"}
    assert len(own) == len(noise) == 16
    assert own["1.1"]["x"] == pytest.approx(0.64)
    assert own["1.1"]["value"] == pytest.approx(0.64 * (1 - 2.4 * 0.21))
    assert own["1.1"]["value"] < noise["1.1"]["value"] < own["1.1"]["x"]
    assert {"left", "right", "low", "high"} <= own["1.1"].keys()
    assert [p["value"] for p in points if p["is"] == "chance"] == [0.02]
    same = [(p["x"], p["value"]) for p in points if p["is"] == "same"]
    assert all(x == y for x, y in same)
    assert len(same) == 2


def test_the_curve_counts_the_heads_at_each_threshold(
    deep: AuditResults, drawn: dict[str, Mark]
) -> None:
    """Two induction heads in the reference, 0.64 and 0.82: two up to 0.6, one to 0.8, none at
    0.9, where there is no point either."""
    curve = figure(heads(deep, "demo", drawn), "heads-survival").strips[0].panels[0]
    notes = {p["x"]: p["name"] for p in curve.points if p["is"] == "note"}
    assert notes == {
        "0.1": "2", "0.2": "2", "0.3": "2", "0.4": "2", "0.5": "2", "0.6": "2",
        "0.7": "1", "0.8": "1", "0.9": "0",
    }  # fmt: skip
    own = {
        p["x"]: p["value"] for p in curve.points if p["is"] == "compression" and p["who"] == PRUNED
    }
    assert own["0.3"] == 1.0
    assert own["0.4"] == 0.5
    assert "0.9" not in own


def test_axes_say_what_they_count_in_one_unit(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """Scores are fractions, on the scatter and as thresholds; shares of heads are per cent."""
    parts = heads(deep, "demo", drawn)
    scores = figure(parts, "heads-scores").strips[1].panels[0].frame
    titles = {
        layer["encoding"]["x"].get("title")
        for layer in scores["layer"]
        if "x" in layer["encoding"] and "title" in layer["encoding"]["x"]
    }
    assert "previous-token score in the reference" in titles
    assert "%" not in json.dumps(scores["layer"][0]["encoding"]["y"]["axis"]["labelExpr"])
    survival = figure(parts, "heads-survival").strips[0].panels[1]
    told = json.dumps(survival.frame)
    assert survival.title == "previous token heads"
    assert '"share of heads kept"' in told
    assert '"previous-token score above"' in told


def test_no_head_above_the_lowest_threshold_is_said(
    deep: AuditResults, drawn: dict[str, Mark]
) -> None:
    """Kinds without heads are named in the caption; without any there is a sentence."""

    def without(kinds: tuple[str, ...]) -> AuditResults:
        rows = [
            {**row, "value": None, "low": None, "high": None, "reason": "no such head"}
            if row["analysis"] == "heads" and row["metric"].startswith(
                tuple(f"{kind}_kept_" for kind in kinds))
            else row
            for row in deep.estimates
        ]  # fmt: skip
        return replace(deep, estimates=rows)

    some = figure(heads(without(("duplicate",)), "demo", drawn), "heads-survival")
    assert "No head of the reference scores above 0.1: duplicate." in some.caption
    parts = heads(without(("induction", "previous", "duplicate")), "demo", drawn)
    assert any(isinstance(p, Prose) and p.text.startswith("No head of the ref") for p in parts)
    assert "heads-survival" not in {f.name for part in parts for f in figures(part)}


def test_without_the_table_of_heads_there_are_no_counts(
    deep: AuditResults, drawn: dict[str, Mark]
) -> None:
    """An empty or missing table leaves the curve as it is."""
    bare = replace(deep, manifest={**deep.manifest, "cells": []})
    curve = figure(heads(bare, "demo", drawn), "heads-survival").strips[0].panels[0]
    assert not [p for p in curve.points if p["is"] == "note"]


def test_tables_hold_noise_under_each_compression(
    deep: AuditResults, drawn: dict[str, Mark]
) -> None:
    """Copying 3.1 falls to 3.1 x (1 - 0.09); the earlier tool's two counts stand in a fold."""
    parts = heads(deep, "demo", drawn)
    table = next(part for part in parts if isinstance(part, Table))
    names = [row[0] for row in table.rows]
    assert names[2:4] == [RTN, "– noise of its size"]
    assert re.fullmatch(r"0\.\d+ \[0\.\d+, 0\.\d+\]", table.rows[2][1])
    assert table.rows[2][6:] == ("3.10 ±0.20", "2.82 ±0.20", "91.0 ±3.0 %")
    fold = next(part for part in parts if isinstance(part, Details))
    told = markdown(fold)
    assert "by its README" in told
    assert "by its code" in told
    assert "91 ±5 %" in told


def test_silence_is_said(results: AuditResults, drawn: dict[str, Mark]) -> None:
    """A store without the analysis has a sentence."""
    (part,) = heads(results, "demo", drawn)
    assert isinstance(part, Prose)
    assert "was not run" in part.text
