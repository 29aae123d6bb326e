"""Which heads moved is told head by head, beside their control."""

from dataclasses import replace
from typing import Any

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.palette import Mark, marks
from bitlens.report.page.browsers import HeadPatterns
from bitlens.report.page.parts import Figure, Prose, Section, Table, Tabs
from bitlens.report.page.patterns import patterns_data
from bitlens.report.sections import patterns
from bitlens.report.sections.attention import attention
from tests.support.analysis_tables import HOSTILE

RTN = "rtn:bits=4,group=64"


@pytest.fixture
def drawn(deep: AuditResults) -> dict[str, Mark]:
    """The marks of the store's compressions."""
    return marks([twin.compression for twin in deep.twins("demo")])


def maps(parts: tuple) -> Figure:
    """The heat maps."""
    found = next(part for part in parts if isinstance(part, Figure))
    assert found.name == "attention-jsd"
    return found


def extremes(parts: tuple, twin: str) -> Table:
    """The table of most and least affected heads of a compression."""
    section = next(part for part in parts if isinstance(part, Section))
    tabs = section.parts[0]
    assert isinstance(tabs, Tabs)
    (table,) = dict(tabs.tabs)[twin]
    assert isinstance(table, Table)
    return table


def test_every_head_is_a_cell_beside_its_noise(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """Four blocks of four heads, for each compression and for its noise, with their control."""
    figure = maps(attention(deep, "demo", drawn))
    assert [strip.title for strip in figure.strips] == ["rtn:bits=8", RTN, "prune:sparsity=0.5"]
    twin, noise = figure.strips[1].panels
    assert len(twin.points) == len(noise.points) == 16
    cell = next(point for point in twin.points if point["item"] == "1.2")
    beside = next(point for point in noise.points if point["item"] == "1.2")
    assert cell["control"] == beside["value"]
    assert cell["chance"] == 0.31
    assert "control" not in beside


def test_colours_follow_the_stored_test(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """A cell is coloured exactly where q of its contrast is at most 0.05 and it moved farther."""
    for strip in maps(attention(deep, "demo", drawn)).strips:
        twin, noise = strip.panels
        coloured = {point["item"] for point in twin.points if point["is"] == "head"}
        mine = (row for row in deep.contrasts if row["compression"] == strip.title)
        rows = [row for row in mine if row["metric"] == "jsd"]
        sure = [r for r in rows if r["q"] <= 0.05 and r["difference"] > 0]
        assert coloured == {place(r) for r in sure}
        assert len(rows) == 16
        assert {point["is"] for point in noise.points} == {"head"}


def place(row: dict[str, Any]) -> str:
    """As block.head."""
    return f"{row['site'].partition('.')[2]}.{row['item'].removeprefix('head ')}"


def test_the_planted_head_leads_the_table(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """Head 1.2 was planted as the worst; five most, five least, in order."""
    table = extremes(attention(deep, "demo", drawn), "prune:sparsity=0.5")
    assert table.rows[0][:2] == ("head 1.2", "most")
    assert [row[1] for row in table.rows] == ["most"] * 5 + ["least"] * 5
    assert "[" in table.rows[0][2]
    assert "[" in table.rows[0][3]
    assert [c.title for c in table.columns][3:5] == ["JSD under noise", "ratio to noise"]
    own, noise = (
        deep.find("demo", who, "attention.jsd", site="pattern.1", item="head 2")
        for who in ("prune:sparsity=0.5", "noise:like=[prune:sparsity=0.5]")
    )
    assert own is not None
    assert noise is not None
    assert (table.columns[5].title, table.rows[0][5]) == ("q", "0.002")
    assert float(table.rows[0][4]) == pytest.approx(own["value"] / noise["value"], rel=5e-3)


@pytest.mark.slow
def test_without_noise_the_cast_is_the_control(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """And without either, nothing is muted and nothing compared."""
    twins = [twin for twin in deep.manifest["twins"] if twin["like"] is None]
    cast = replace(deep, manifest={**deep.manifest, "twins": twins})
    (panel,) = maps(attention(cast, "demo", drawn)).strips[1].panels
    assert {point["compared"] for point in panel.points} == {"cast:dtype=bfloat16"}
    titles = [c.title for c in extremes(attention(cast, "demo", drawn), RTN).columns]
    assert "JSD under the cast" in titles
    alone = [twin for twin in twins if not twin["control"]]
    bare = replace(deep, manifest={**deep.manifest, "twins": alone})
    (panel,) = maps(attention(bare, "demo", drawn)).strips[1].panels
    assert {point["is"] for point in panel.points} == {"head"}
    assert "No control was run" in extremes(attention(bare, "demo", drawn), RTN).caption


def viewer(parts: tuple) -> HeadPatterns:
    """The patterns of every twin."""
    (section,) = (part for part in parts if getattr(part, "anchor", "") == "attention-patterns")
    (part,) = section.parts
    assert isinstance(part, HeadPatterns)
    return part


def test_patterns_stand_head_by_head(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """Every twin has its own, the head that moved most first; the page says that all have some."""
    part = viewer(attention(deep, "demo", drawn))
    assert [twin for twin, _ in part.twins] == ["rtn:bits=8", RTN, "prune:sparsity=0.5"]
    assert part.twins[part.shown][0] == "prune:sparsity=0.5"
    assert [len(heads) for _, heads in part.twins] == [16] * 3
    assert "all heads of the model" in part.caption
    first = part.twins[2][1][0]
    assert (first.block, first.head) == (1, 2)
    assert list(first.reference[0][:6]) == [255, 255, 0, 0, 255, 0]
    assert list(first.twin[0][:6]) == [255, 255, 0, 127, 128, 0]
    assert part.texts[1][1][0] == HOSTILE
    assert part.texts[0][1][2] == "↵"


def test_letters_say_what_a_head_pays_and_how_it_changed(
    deep: AuditResults, drawn: dict[str, Mark]
) -> None:
    """`0` is nothing, and a letter later a 255th more; a twin's are around in a circle of 256."""
    data = patterns_data(viewer(attention(deep, "demo", drawn)))
    whole, none = chr(48 + 255), "0"
    assert dict(data["reference"])["1.2"][0][:6] == whole + whole + none + none + whole + none
    (heads,) = (one["heads"] for one in data["twins"] if one["twin"] == "prune:sparsity=0.5")
    # 128 - 255 is 129 around the circle.
    changed = none * 3 + chr(48 + 127) + chr(48 + 129) + none
    assert dict(heads)["1.2"][0][:6] == changed
    assert len(data["reference"]) == 16


def test_a_page_holds_as_many_heads_as_it_may(
    deep: AuditResults, drawn: dict[str, Mark], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two texts of 21 shares, four models: a budget of 400 leaves two heads, which is said."""
    monkeypatch.setattr(patterns, "BUDGET", 400)
    part = viewer(attention(deep, "demo", drawn))
    assert [len(heads) for _, heads in part.twins] == [2] * 3
    assert "2 heads of 16 in each twin" in part.caption


def test_levels_are_drawn_reference_against_twin(
    deep: AuditResults, drawn: dict[str, Mark]
) -> None:
    """Entropy and sink: a point a head, its reference across and its twin up."""
    figure = attention(deep, "demo", drawn)[-1]
    assert isinstance(figure, Figure)
    assert len(figure.strips) == 2
    point = next(p for p in figure.strips[0].panels[1].points if p.get("item") == "2.1")
    row = deep.find("demo", RTN, "attention.entropy", site="pattern.2", item="head 1, twin")
    assert row is not None
    assert point["x"] == pytest.approx(1.3)
    assert point["value"] == pytest.approx(row["value"])


def test_chance_and_reasons_may_be_missing(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """Without chance the caption is silent of it; heads without a value have no cell."""
    rows = [
        {**row, "chance": None, **({"value": None, "low": None, "high": None, "reason": "one"}
         if row["site"] == "pattern.0" else {})}
        for row in deep.estimates
    ]  # fmt: skip
    figure = maps(attention(replace(deep, estimates=rows), "demo", drawn))
    assert figure.caption == "Intact is 0. A click on a cell shows where that head looks."
    assert len(figure.strips[0].panels[0].points) == 12


def test_silence_is_said(results: AuditResults, drawn: dict[str, Mark]) -> None:
    """A store without the analysis has a sentence."""
    (part,) = attention(results, "demo", drawn)
    assert isinstance(part, Prose)
    assert "was not run" in part.text
