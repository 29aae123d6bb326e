"""Features: shares that add up, curves, points, every feature, contexts."""

import itertools
from dataclasses import replace

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.palette import Mark, marks
from bitlens.report.page.browsers import FeatureBrowser
from bitlens.report.page.html import features_data
from bitlens.report.page.markdown import markdown
from bitlens.report.page.parts import Details, Figure, Prose, Section, Table, figures
from bitlens.report.saes import SaeResults, saes_of
from bitlens.report.sections import contexts, latents
from bitlens.report.sections.features import features
from tests.support.analysis_tables import ACTIVE, HOSTILE
from tests.support.page_columns import back

RTN = "rtn:bits=4,group=64"
NOISE = f"noise:like=[{RTN}]"


@pytest.fixture
def drawn(deep: AuditResults) -> dict[str, Mark]:
    """The marks of the store's compressions."""
    return marks([twin.compression for twin in deep.twins("demo")])


@pytest.fixture
def late(deep: AuditResults, drawn: dict[str, Mark]) -> Section:
    """The section of the SAE at block 2."""
    found = features(deep, "demo", drawn)[3]
    assert isinstance(found, Section)
    return found


def figure(section: Section, name: str) -> Figure:
    """The figure of this name."""
    return next(f for f in figures(section) if f.name == name)


def test_every_sae_has_its_section_by_depth(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """Label and site stand in the heading; anchors differ."""
    assert saes_of(deep, "demo") == [
        SaeResults("early", "resid.0"), SaeResults("late", "resid.2"),
    ]  # fmt: skip
    sections = [p for p in features(deep, "demo", drawn) if isinstance(p, Section)]
    assert [s.title for s in sections] == ["SAE early (resid.0)", "SAE late (resid.2)"]
    assert len({s.anchor for s in sections}) == 2


def test_fit_comes_first(late: Section) -> None:
    """FVU and L0 in both models, and the number that shares are shares of."""
    table = late.parts[0]
    assert isinstance(table, Table)
    row = next(row for row in table.rows if row[0] == RTN)
    assert row == (RTN, "180", "12.0 ±1.0 %", "13.1 ±1.0 %", "1.090 ±0.010", "32.0 ±1.0",
                   "34.9 ±1.0")  # fmt: skip
    assert "220 latents fired" in table.caption


def test_bars_add_up_and_stand_beside_their_noise(deep: AuditResults, late: Section) -> None:
    """Few bits first, noise under each; pieces follow one another from none to all."""
    shown = figure(late, "features-2-states")
    assert "n = 180 active features" in shown.caption
    assert shown.caption.endswith("Of unrelated features 0 % would survive.")
    for panel in shown.strips[0].panels:
        rows: dict[str, list[dict]] = {}
        for point in panel.points:
            rows.setdefault(point["row"], []).append(point)
        assert list(rows)[:2] == [f"4.25 bits: {RTN}", f"noise like {RTN}"]
        for pieces in rows.values():
            assert pieces[0]["from"] == 0
            assert pieces[-1]["to"] == pytest.approx(1, abs=1e-4)
            assert all(a["to"] == pytest.approx(b["from"]) for a, b in itertools.pairwise(pieces))
    noise = deep.find("demo", NOISE, "features.survived", site="resid.2", item="late")
    first = shown.strips[0].panels[0].points[3]
    assert noise is not None
    assert first["who"] == NOISE
    assert first["value"] == pytest.approx(noise["value"], rel=1e-4)


def test_the_curve_goes_through_every_threshold(late: Section) -> None:
    """From 0.1 to 0.99, falling, for compressions and noise, with intact."""
    (panel,) = figure(late, "features-2-thresholds").strips[0].panels
    own = [(p["x"], p["value"]) for p in panel.points
           if p["is"] == "compression" and p["who"] == RTN]  # fmt: skip
    assert [x for x, _ in own] == [*(f"0.{n}" for n in range(1, 10)), "0.95", "0.99"]
    assert [y for _, y in own] == sorted((y for _, y in own), reverse=True)
    assert [p["value"] for p in panel.points if p["is"] == "line"] == [1.0]


def test_points_are_the_table_of_features(deep: AuditResults, late: Section) -> None:
    """Every active feature of the reference is drawn; those only in the twin have no r."""
    panel = figure(late, "features-2-peaks").strips[0].panels[1]
    points = {p["item"]: p for p in panel.points if p["is"] == "feature"}
    rows = [r for r in deep.table("demo", RTN, "features", "features") if r["sae"] == "late"]
    assert len(points) == ACTIVE == len(rows) - 4
    row = rows[17]
    point = points[str(row["latent"])]
    assert point["value"] == pytest.approx(row["r"], rel=1e-3)
    assert point["state"] == row["state"]
    assert {"gain", "rate", "lost", "new", "low", "high"} <= point.keys()


def test_the_band_is_that_of_the_noise(deep: AuditResults, late: Section) -> None:
    """Ten bins of 18 features; their median peaks rise; low <= median <= high in each."""
    panel = figure(late, "features-2-peaks").strips[0].panels[1]
    band = [p for p in panel.points if p["is"] == "noise"]
    assert len(band) == 10
    assert [p["x"] for p in band] == sorted(p["x"] for p in band)
    assert all(p["low"] <= p["value"] <= p["high"] for p in band)
    rows = [r for r in deep.table("demo", NOISE, "features", "features")
            if r["sae"] == "late" and r["r"] is not None]  # fmt: skip
    weakest = sorted(rows, key=lambda r: r["peak_reference"])[:18]
    middle = sorted(r["r"] for r in weakest)[8:10]
    assert band[0]["value"] == pytest.approx(sum(middle) / 2, abs=1e-3)


def test_many_features_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100 features, 10 are kept, from the worst to the best, and the caption would say so."""
    monkeypatch.setattr(latents, "SAMPLE", 10)
    rows = [{"r": (37 * n % 100) / 100, "latent": n} for n in range(100)]
    kept = [row["r"] for row in latents._sample(rows)]
    assert kept == [0.0, 0.11, 0.22, 0.33, 0.44, 0.55, 0.66, 0.77, 0.88, 0.99]


def test_thinning_is_said(
    deep: AuditResults, drawn: dict[str, Mark], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points left out are counted in the caption, and the band is still that of all."""
    monkeypatch.setattr(latents, "SAMPLE", 50)
    found = features(deep, "demo", drawn)[2]
    assert isinstance(found, Section)
    shown = figure(found, "features-1-peaks")
    assert shown.caption.startswith("At most 50 features a chart are drawn")
    assert sum(p["is"] == "feature" for p in shown.strips[0].panels[0].points) == 50


def test_every_feature_is_there_beside_noise(late: Section, deep: AuditResults) -> None:
    """Those that fire only in the twin too; r under noise is the noise twin's own."""
    part = next(p for p in late.parts if isinstance(p, FeatureBrowser))
    assert part.sae == "late"
    mine = next(one for one in part.twins if one.twin == RTN)
    assert mine.active == ACTIVE
    assert len(mine.rows) == ACTIVE + 4
    under = {row["latent"]: row["r"] for row in deep.table("demo", NOISE, "features", "features")
             if row["sae"] == "late"}  # fmt: skip
    at = [key for key, _ in part.columns].index("noise")
    assert [row[at] for row in mine.rows] == [under.get(row[0]) for row in mine.rows]
    assert f"{RTN} {ACTIVE + 4} features" in markdown(part).replace("\\", "")


def test_what_the_page_holds_of_features_is_theirs(late: Section) -> None:
    """Columns of bytes, each once: states by name, r a step at most above the number."""
    part = next(p for p in late.parts if isinstance(p, FeatureBrowser))
    held = features_data(part)
    assert len(held["columns"]) < len(part.twins) * len(part.columns), "some are shared"
    keys = held["keys"]
    for one, kept in zip(part.twins, held["twins"], strict=True):
        by = {key: back(held["columns"][at]) for key, at in zip(keys, kept["at"], strict=True)}
        states = [held["names"]["state"][i] for i in by["state"]]
        assert states == [row[keys.index("state")] for row in one.rows]
        r = [row[keys.index("r")] for row in one.rows]
        for step, number in zip(by["r"], r, strict=True):
            assert step == -(2**15) if number is None else 0 <= step / 1e4 - number < 1.01e-4


def browser(section: Section) -> FeatureBrowser:
    """The features of an SAE."""
    return next(p for p in section.parts if isinstance(p, FeatureBrowser))


def test_features_have_what_they_fire_on(late: Section) -> None:
    """Of every twin the contexts that are stored, with firings and directions; how many have some
    is said, and Markdown has none of it."""
    part = browser(late)
    assert part.evidence is not None
    assert [twin for twin, _ in part.evidence.contexts] == [one.twin for one in part.twins]
    for _, rows in part.evidence.contexts:
        assert len({row["latent"] for row in rows}) == 6
        assert len(rows) == 24
    assert {len(rows) for _, rows in part.evidence.firings} == {6}
    assert f"6 of {ACTIVE + 4} ({RTN})" in part.caption
    assert HOSTILE not in markdown(part)


def test_the_most_damaged_come_first_where_room_is_short(
    deep: AuditResults, drawn: dict[str, Mark], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for 12 features among three twins and two SAEs is two each, one with its firings; which
    is said."""
    monkeypatch.setattr(contexts, "MOST", 12)
    monkeypatch.setattr(contexts, "MOST_FIRINGS", 6)
    section = features(deep, "demo", drawn)[3]
    assert isinstance(section, Section)
    part = browser(section)
    assert part.evidence is not None
    for (twin, rows), (_, drawn_of) in zip(
        part.evidence.contexts, part.evidence.firings, strict=True
    ):
        table = SaeResults("late", "resid.2").rows(deep, "demo", twin, "features")
        known = [row for row in table if row["r"] is not None]
        worst = [row["latent"] for row in sorted(known, key=lambda row: row["r"])]
        assert {row["latent"] for row in rows} == set(worst[:2])
        assert [row["latent"] for row in drawn_of] == worst[:1]
    assert f"2 of {ACTIVE + 4} ({RTN})" in part.caption
    assert "drawn for the 1 most damaged" in part.caption


def test_earlier_definitions_stand_beside_chance(late: Section) -> None:
    """By name, with a sentence each, and the balanced form beside."""
    fold = [p for p in late.parts if isinstance(p, Details)][-1]
    told = markdown(fold)
    for name in ("sample correlation", "sample correlation alive", "top20 token sets"):
        assert f"| {name} |" in told
    assert "| firing agreement |" in told
    assert "30.0 %" in told


def test_a_refused_sae_says_why(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """Reasons instead of values: one sentence, no empty chart."""
    rows = [
        {**row, "value": None, "low": None, "high": None, "reason": "it does not fit here"}
        if row["analysis"] == "features" and row["item"] == "late"
        else row
        for row in deep.estimates
    ]
    found = features(replace(deep, estimates=rows), "demo", drawn)[3]
    assert isinstance(found, Section)
    (said,) = found.parts
    assert isinstance(said, Prose)
    assert said.text.endswith("it does not fit here.")


def test_without_tables_and_noise_the_shares_remain(
    deep: AuditResults, drawn: dict[str, Mark]
) -> None:
    """No cell tables, no controls, no chance: bars and curves, nothing else."""
    twins = [twin for twin in deep.manifest["twins"] if not twin["control"]]
    manifest = {**deep.manifest, "cells": [], "twins": twins}
    rows = [{**row, "chance": None} for row in deep.estimates]
    found = features(replace(deep, manifest=manifest, estimates=rows), "demo", drawn)[2]
    assert isinstance(found, Section)
    assert [f.name for f in figures(found)] == ["features-1-states", "features-1-thresholds"]
    for shown in figures(found):
        assert "weight noise of the same size" not in {name for _, name in shown.controls}
        assert "By chance" not in shown.caption


def test_silence_is_said(results: AuditResults, drawn: dict[str, Mark]) -> None:
    """A store without the analysis has a sentence."""
    (part,) = features(results, "demo", drawn)
    assert isinstance(part, Prose)
    assert "was not run" in part.text
