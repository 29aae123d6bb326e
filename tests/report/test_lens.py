"""Lens curves, depths, and positions token by token."""

from dataclasses import replace

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.palette import Mark, marks
from bitlens.report.page.browsers import LensBrowser, LensStretch
from bitlens.report.page.lens_grids import lens_data
from bitlens.report.page.markdown import markdown
from bitlens.report.page.parts import (
    Details,
    Figure,
    Prose,
    Section,
    Table,
    Tabs,
    TokenGrid,
    figures,
)
from bitlens.report.sections.lens import lens
from tests.support.analysis_tables import HOSTILE, WORDS
from tests.support.audit_stores import CAST, DAMAGE

RTN = "rtn:bits=4,group=64"


@pytest.fixture
def drawn(deep: AuditResults) -> dict[str, Mark]:
    """The marks of the store's compressions."""
    return marks([twin.compression for twin in deep.twins("demo")])


def figure(parts: tuple, name: str) -> Figure:
    """The figure of this name."""
    return next(f for part in parts for f in figures(part) if f.name == name)


def grid(parts: tuple, twin: str) -> TokenGrid:
    """The positions shown for a compression."""
    section = parts[-1]
    assert isinstance(section, Section)
    assert isinstance(section.parts[0], Tabs)
    (found,) = dict(section.parts[0].tabs)[twin]
    assert isinstance(found, TokenGrid)
    return found


def test_changes_have_chance_noise_and_cast(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """KL by block: the twin's own values, its noise, the cast, and chance."""
    points = figure(lens(deep, "demo", drawn), "lens-lens_kl").strips[0].panels[0].points
    own = {p["x"]: p["value"] for p in points if p["is"] == "compression" and p["who"] == RTN}
    for block in range(4):
        row = deep.find("demo", RTN, "lens.lens_kl", f"resid.{block}")
        assert row is not None
        assert own[block] == pytest.approx(row["value"])
    assert {p["is"] for p in points} == {"compression", "noise", "cast", "chance"}


@pytest.mark.slow
def test_long_dashes_are_what_the_axis_has_a_place_for(
    deep: AuditResults, drawn: dict[str, Mark]
) -> None:
    """An intact KL of 0 is nowhere on a log scale; where every KL is 0 the axis is linear."""
    parts = lens(deep, "demo", drawn)
    assert figure(parts, "lens-lens_kl").key.endswith(" Long dashes: chance.")
    assert "Long dashes" not in figure(parts, "lens-target").key
    none = {"value": 0.0, "low": 0.0, "high": 0.0, "chance": None}
    rows = [{**row, **none} if row["metric"] == "lens_kl" else row for row in deep.estimates]
    same = lens(replace(deep, estimates=rows), "demo", drawn)
    assert figure(same, "lens-lens_kl").key.endswith(" Long dashes: intact.")


def test_positions_open_at_the_worst_twin(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """The tab of the compression with the largest mean KL is seen at first."""
    section = lens(deep, "demo", drawn)[-1]
    assert isinstance(section, Section)
    assert isinstance(section.parts[0], Tabs)
    tabs = section.parts[0]
    kl = [deep.find("demo", name, "behaviour.kl") for name, _ in tabs.tabs]
    values = [row["value"] for row in kl if row is not None]
    assert len(values) == len(tabs.tabs) > 1
    assert values[tabs.shown] == max(values) > values[0]


def test_levels_have_reference_and_twin(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """The reference is drawn once, not again for each control; intact is not spoken of."""
    shown = figure(lens(deep, "demo", drawn), "lens-target")
    points = shown.strips[0].panels[0].points
    assert {p["is"] for p in points} == {"compression", "reference", "noise", "cast"}
    blocks = [p["x"] for p in points if p["is"] == "reference"]
    assert blocks == sorted(set(blocks))
    assert {p["who"] for p in points if p["is"] == "cast"} == {CAST}
    assert "intact" not in shown.caption
    assert "Dashed grey: the reference" in shown.key


def test_depths_are_shares_and_a_block(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """First correct 70 % of depth, 0.9 points later; the earlier tool's block is in a fold."""
    parts = lens(deep, "demo", drawn)
    table = next(part for part in parts if isinstance(part, Table))
    row = next(row for row in table.rows if row[0] == RTN)
    assert row == (RTN, "70.0 ±2.0 %", "70.9 ±2.0 %", "0.9 ±0.4 %", "92.8 ±1.0 %")
    fold = next(part for part in parts if isinstance(part, Details))
    assert isinstance(fold.parts[0], Table)
    assert (RTN, "2") in fold.parts[0].rows


@pytest.mark.slow
def test_positions_hold_both_models_tokens_as_text(
    deep: AuditResults, drawn: dict[str, Mark]
) -> None:
    """Spaces and line breaks are seen, what hides is written out, hostile text stays text."""
    shown = grid(lens(deep, "demo", drawn), RTN)
    assert shown.columns == ("0", "1", "2", "3")
    assert len(shown.rows) == 6
    first, second = shown.rows[0], shown.rows[1]
    assert first.before == f"Once upon a{HOSTILE}↵ time"
    assert first.target == "␣sat"
    assert first.tops == (("␣the",) * 2, ("␣cat",) * 2, ("␣sat",) * 2, ("␣sat",) * 2)
    assert second.tops[2] == (HOSTILE, "模型")
    assert HOSTILE in second.where
    assert shown.rows[5].target == "⟨U+202E⟩evil"
    calm = grid(lens(deep, "demo", drawn), "rtn:bits=8")
    assert all(a == b for row in calm.rows for a, b in row.tops)


def test_without_trajectories_there_is_no_grid(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """Tables that are not there leave no heading behind."""
    bare = replace(deep, manifest={**deep.manifest, "cells": []})
    assert not [part for part in lens(bare, "demo", drawn) if isinstance(part, Section)]


def test_silence_is_said(results: AuditResults, drawn: dict[str, Mark]) -> None:
    """A store without the analysis has a sentence."""
    (part,) = lens(results, "demo", drawn)
    assert isinstance(part, Prose)
    assert "was not run" in part.text


def test_lens_grids_are_as_the_store_has_them(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """Of every twin both texts, by block and token; on the page a text once, and its number."""
    inside = [part for part in lens(deep, "demo", drawn) if isinstance(part, Section)]
    (grids,) = (part for of in inside for part in of.parts if isinstance(part, LensBrowser))
    assert [twin for twin, _ in grids.twins] == list(DAMAGE)
    twin, (first, second) = grids.twins[0]
    kept = deep.table("demo", twin, "attention", "grid")
    assert (first.document, second.document) == ("a document", HOSTILE)
    assert first.tokens == WORDS[1:4]
    assert first.blocks == (0, 1)
    assert [cell for row in first.tops for cell in row] == [
        (row["top_reference"], row["top_twin"], row["kl"])
        for block in first.blocks
        for row in kept
        if (row["text"], row["block"]) == (0, block)
    ]
    held = lens_data(grids)
    assert len(held["words"]) == len(set(held["words"])) == 5
    shown = held["twins"][0][1][0]
    assert [held["words"][n] for n in shown["twin"][1]] == list(WORDS[2:5])
    assert "2 texts, block by block" in markdown(grids)


def test_a_cell_of_a_lens_grid_without_a_number_is_blank() -> None:
    """JSON has no NaN: the page is built all the same."""
    tops = ((("a", "a", None), ("a", "b", 0.125)),)
    stretch = LensStretch(document="d", tokens=("a", "b"), blocks=(0,), tops=tops)
    browser = LensBrowser(name="Lens grids", model="demo", twins=(("rtn", (stretch,)),))
    assert lens_data(browser)["twins"][0][1][0]["kl"] == [[None, 0.12]]
