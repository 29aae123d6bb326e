"""Each section says what the store says, and says so when the store is silent."""

from dataclasses import replace
from typing import Any

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.build import page
from bitlens.report.charts.frontier import Footprint, bits_of
from bitlens.report.charts.palette import Mark, marks
from bitlens.report.page.markdown import markdown
from bitlens.report.page.parts import Details, Figure, Ledger, Page, Panel, Prose, Table, figures
from bitlens.report.sections.compressed import compressed
from bitlens.report.sections.layers import layers
from bitlens.report.sections.method import method
from bitlens.report.sections.numbers import numbers
from bitlens.report.sections.quality import outputs, quality
from bitlens.report.sections.tails import tails
from bitlens.report.sections.validity import validity
from bitlens.report.summary import summary
from tests.support.analysis_tables import HOSTILE
from tests.support.audit_stores import CAST

RTN = "rtn:bits=4,group=64"


@pytest.fixture
def drawn(results: AuditResults) -> dict[str, Mark]:
    """The marks of the store's compressions."""
    return marks([twin.compression for twin in results.twins("demo")])


def panels(figure: Figure) -> dict[str, Panel]:
    """A figure's charts by strip and title."""
    return {f"{s.title}|{p.title}": p for s in figure.strips for p in s.panels}


def bits(results: AuditResults) -> Footprint:
    """Bits per weight of the store's compressions."""
    found = bits_of(results, "demo")
    assert found is not None
    return found


def text(parts: tuple) -> str:
    """Parts as Markdown."""
    return "\n".join(markdown(part) for part in parts)


def test_validity_tells_what_failed_and_why(results: AuditResults) -> None:
    """Checks keep their three outcomes; failed cells stand with their reasons."""
    told = text(validity(results))
    assert "✓ weights differ: 28 of 28" in told
    assert "? calibration apart" in told
    assert "✗ finite activations" in told
    assert "✗ the study is complete: 14 of 16 cells" in told
    assert "| demo | rtn:bits=3,group=48 | behaviour | 0 | group 48 does not divide" in told


def test_validity_misses_controls(results: AuditResults) -> None:
    """A comparison that was not run is said to be missing, not left out in silence."""
    twins = [t for t in results.manifest["twins"] if not t["control"]]
    told = text(validity(replace(results, manifest={**results.manifest, "twins": twins})))
    assert "no weight noise of the same size was run for rtn:bits=8, rtn:bits=4,group=64" in told
    assert "what 16 bits do is not known" in told


def test_too_few_documents_comes_with_advice(results: AuditResults) -> None:
    """A check that failed for want of text says what to do; one that passed does not."""

    def told(passed: bool | None) -> str:
        check = {"name": "demo: enough documents", "passed": passed, "detail": "32 documents."}
        return text(validity(replace(results, manifest={**results.manifest, "checks": [check]})))

    assert "32 documents. To know more, read more documents: a larger --tokens" in told(
        None
    ).replace("\\", "")
    assert "a larger" in told(False)
    assert "a larger" not in told(True)


def test_alike_reasons_stand_together(results: AuditResults) -> None:
    """Three percentiles lack intervals for one reason with other numbers: one line."""
    needed = {"kl_p90": 50, "kl_p95": 100, "kl_p99": 1000}
    rows = [
        {**row, "reason": f"no interval: percentile needs {needed[row['metric']]} documents"
         if row["metric"] in needed else None}
        for row in results.estimates
    ]  # fmt: skip
    told = text(method(replace(results, estimates=rows))).replace("\\", "")
    assert (
        "21 estimates without an interval: percentile needs 50 documents (2 more like it, with "
        "other numbers). They are of behaviour.kl_p90, behaviour.kl_p95, behaviour.kl_p99." in told
    )


def test_a_very_long_table_leaves_single_heads_out(
    deep: AuditResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit the page says how many are left out, and where they are."""
    monkeypatch.setattr("bitlens.report.sections.numbers.MOST", 100)
    _, details = numbers(deep)
    assert isinstance(details, Details)
    ledger = details.parts[0]
    assert isinstance(ledger, Ledger)
    assert not [row for row in ledger.rows if str(row[5]).startswith("head ")]
    left = len(deep.estimates) - len(ledger.rows)
    assert left > 0
    assert f"{left:,} estimates of single heads are left out" in ledger.caption


def test_compressed_counts_weights_not_settings(results: AuditResults) -> None:
    """16 of 17 modules of 16,384 weights, 99.8 % of them changed, beside 524,288 left alone:
    261,619 of 786,432 weights are 33.3 %."""
    table = next(part for part in compressed(results, "demo", drawn) if isinstance(part, Table))
    row = next(row for row in table.rows if row[0] == RTN)
    assert row[1:4] == ("16 of 17", "33.3 %", "4.25")
    assert row[-1] == "1 embedding"


def test_compressed_names_what_did_not_change(results: AuditResults) -> None:
    """A module that was to be compressed and was not is counted in the open."""
    rows = [
        {**r, "changed": 0.0} if r["module"].endswith("0.mlp.up_proj") else r
        for r in results.coverage
    ]
    table = compressed(replace(results, coverage=rows), "demo", {})[2]
    assert isinstance(table, Table)
    assert {row[1] for row in table.rows} == {"16 of 17, 1 unchanged"}


def test_quality_draws_every_twin_its_noise_and_the_floor(
    results: AuditResults, drawn: dict[str, Mark]
) -> None:
    """Three compressions, three noises at the same bits, and lines for cast and chance."""
    figure = quality(results, "demo", drawn, bits(results))
    assert isinstance(figure, Figure)
    points = panels(figure)["What it predicts|KL divergence"].points
    own = {p["who"]: p["x"] for p in points if p["is"] == "compression"}
    noise = {p["who"]: p["x"] for p in points if p["is"] == "noise"}
    assert own == noise == {"rtn:bits=8": 8.03, RTN: 4.25, "prune:sparsity=0.5": 8.5}
    assert [p["name"] for p in points if p["is"] == "line"] == [CAST, "chance"]
    assert "Lines of perfect values are left out" in figure.caption
    assert "perplexity ratio chance, 61.0 (off the axis)" in figure.caption


def test_quality_stairs_hold_what_nothing_cheaper_betters(
    results: AuditResults, drawn: dict[str, Mark]
) -> None:
    """4.25 bits, then 8.03 bits with less damage; pruning at 8.5 bits is beaten by both."""
    figure = quality(results, "demo", drawn, bits(results))
    assert isinstance(figure, Figure)
    for panel in panels(figure).values():
        stairs = [p["x"] for p in panel.points if p["is"] == "stairs"]
        assert stairs == [4.25, 8.03]


def test_tails_go_from_the_median_to_the_maximum(
    results: AuditResults, drawn: dict[str, Mark]
) -> None:
    """Percentiles in order, each point with its interval where the store has one."""
    (figure,) = tails(results, "demo", drawn)
    assert isinstance(figure, Figure)
    kl, dp = figure.strips[0].panels
    own = [p for p in kl.points if p["is"] == "compression" and p["who"] == RTN]
    assert [p["x"] for p in own] == ["50", "90", "95", "99", "99.9", "max"]
    assert ["low" in p for p in own] == [True, True, True, True, False, False]
    mine = [p["x"] for p in dp.points if p["is"] == "compression" and p["who"] == RTN]
    assert mine == ["1", "5", "50", "95", "99"]


def test_layers_hold_the_planted_lesion(results: AuditResults, drawn: dict[str, Mark]) -> None:
    """Block 3's MLP was planted as the worst: its local error stands out, and only there."""
    found = {figure.name: figure for part in layers(results, "demo", drawn)
             for figure in figures(part)}  # fmt: skip
    assert set(found) == {
        f"layers-{name}"
        for name in ("relative_error", "cosine", "cka", "sqnr", "l2", "pearson", "massive_share")
    }
    chart = panels(found["layers-relative_error"])[
        "What the MLP adds (mlp)|local: one block by itself"
    ]
    own = [p for p in chart.points if p["is"] == "compression"]
    local = [p["value"] for p in own if p["who"] == RTN]
    assert local[3] > 1.8 * max(local[:3])
    assert {p["twin"] for p in own} == {t.compression for t in results.measured("demo")}
    assert {p["is"] for p in chart.points} == {"compression", "noise", "chance"}
    noise = [p for p in chart.points if p["is"] == "noise"]
    assert {p["who"] for p in noise} == {f"noise:like=[{p['twin']}]" for p in own}


def test_numbers_hold_every_estimate_with_its_control(results: AuditResults) -> None:
    """A row an estimate; noise is the same number of the matched control, to the last digit."""
    _, details = numbers(results)
    assert isinstance(details, Details)
    ledger = details.parts[0]
    assert isinstance(ledger, Ledger)
    assert len(ledger.rows) == len(results.estimates)
    titles = [column.title for column in ledger.columns]
    rows = [dict(zip(titles, row, strict=True)) for row in ledger.rows]
    row = next(r for r in rows if r["compression"] == RTN and r["metric"] == "kl")
    noise = results.find("demo", f"noise:like=[{RTN}]", "behaviour.kl")
    assert noise is not None
    assert row["noise"] == noise["value"]
    assert row["p"] == 0.0011
    assert row["intact"] == 0.0
    assert row["chance"] == 6.4


def test_method_tells_meaning_limits_and_command(results: AuditResults) -> None:
    """Definitions come from the manifest; what has no interval is counted with its reason."""
    told = text(method(results))
    assert (
        "| behaviour.kl | How far apart are the predictions? | nats | higher | 0 |"
        in told.replace("\\", "")
    )
    assert "7 estimates without an interval: a maximum has no interval. They are of" in told
    assert "bitlens audit demo --to rtn:bits=8" in told
    assert "leaving out one shard" in told
    settings = {**results.manifest["settings"], "interval": "bootstrap"}
    other = replace(results, manifest={**results.manifest, "settings": settings})
    assert "drawing whole documents again" in text(method(other))


def test_silence_is_said(results: AuditResults, drawn: dict[str, Mark]) -> None:
    """Analyses that were not run leave a sentence, not an empty chart."""
    empty = replace(results, estimates=[], contrasts=[], coverage=[])
    for parts in (
        outputs(empty, "demo", drawn),
        layers(empty, "demo", drawn),
        numbers(empty),
        compressed(empty, "demo", drawn),
    ):
        assert len(parts) == 1
        assert isinstance(parts[0], Prose)
    assert tails(empty, "demo", drawn) == ()


@pytest.mark.slow
def test_one_block_and_no_intervals_still_draw(
    results: AuditResults, drawn: dict[str, Mark]
) -> None:
    """Narrowed sites and missing intervals give shorter curves, not errors."""
    rows = [
        {**r, "low": None, "high": None, "reason": "one document"}
        for r in results.estimates
        if r["analysis"] == "behaviour" or r["site"] == "mlp.0"
    ]
    few = replace(results, estimates=rows, contrasts=[])
    figure = quality(few, "demo", drawn, bits(few))
    assert isinstance(figure, Figure)
    (first, *_) = (f for part in layers(few, "demo", drawn) for f in figures(part))
    assert [strip.title for strip in first.strips] == ["What the MLP adds (mlp)"]
    assert not any("low" in p for panel in panels(first).values() for p in panel.points)


@pytest.mark.slow
def test_several_models_get_a_section_each_and_an_overview(
    study: AuditResults, study_page: Page
) -> None:
    """Models in their order, files and anchors never shared, and one figure for all."""
    assert [s.title for s in study_page.sections][2:4] == ["demo", HOSTILE]
    names = [figure.name for figure in figures(study_page)]
    assert names[0] == "overview"
    assert len(names) == len(set(names))
    assert [p.title for p in figures(study_page)[0].strips[0].panels] == study.models


def test_the_same_compression_has_one_colour_everywhere(study_page: Page) -> None:
    """Every legend of the page agrees on every name."""
    seen: dict[str, set[Mark]] = {}
    for figure in figures(study_page):
        for mark, name in figure.legend:
            seen.setdefault(name, set()).add(mark)
    assert seen
    assert all(len(found) == 1 for found in seen.values())


class Declared(dict[str, Any]):
    """A mapping of which nothing is asked that it does not have."""

    def get(self, name: str, *default: Any) -> Any:
        assert name in self, f"{name} is in no schema"
        return self[name]


def declared(content: Any) -> Any:
    if isinstance(content, dict):
        return Declared({name: declared(value) for name, value in content.items()})
    return [declared(item) for item in content] if isinstance(content, list) else content


@pytest.mark.slow
def test_nothing_is_asked_of_a_manifest_that_its_schema_does_not_declare(
    study: AuditResults, deep: AuditResults
) -> None:
    """What a store has was held against it when it was opened, and no key may be missing: whoever
    asks for another reads something that nobody writes."""
    for results in (study, deep):
        strict = replace(results, manifest=declared(results.manifest))
        assert len(page(strict).sections) == len(page(results).sections)
        assert summary(strict) == summary(results)


def test_every_section_of_a_full_audit_states_what_it_found(deep: AuditResults) -> None:
    """But for what this store holds no numbers for; no title is a question."""
    silent = {section.anchor for section in page(deep).sections if section.found is None}
    assert silent == {"heads", "prediction", "shared"}
    assert not [s.title for s in page(deep).sections if s.title.endswith("?")]
